# SPDX-License-Identifier: Apache-2.0
"""A training's job in a folder that may be moved: pictures and champion beside the job file, all paths from there on.

And the results back from it, whole or not at all. Knows no cluster. Used by `ray.py`.

Layout of `{shared}/{training_id}`: `images/`, `champion/`, and of each attempt `job-N.json` and `output-N/`: what an
attempt that was given up may still be writing is never mixed with the one that counts.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from central.training_backends.seam import Attempt, TrainingBackendError
from central.trust.keys import write_whole
from contracts import codec
from contracts.jobs import CLUSTER_FOLDER, EVALUATION_NAME, PACKAGE_FOLDER, RESUME_FOLDER, TrainingJob

_IMAGES: Final = "images"
_CHAMPION: Final = "champion"
_PART: Final = "output.part"


class Staging:
    """One attempt's folder on the shared storage. Cheap to make."""

    def __init__(self, shared: Path, attempt: Attempt) -> None:
        self._attempt: Final = attempt
        self.folder: Final = shared / attempt.training_id
        self.job_name: Final = self._job_of(attempt.number).name
        self.output: Final = self._output_of(attempt.number)

    def lay_out(self) -> int:
        """Pictures, champion and at last the job file. Again, after a kill, it goes on where it was.

        Returns:
            How many workers the job asks for.

        Raises:
            OSError: the storage takes it not.
            codec.CodecError: the job file of the attempt cannot be read.
        """
        job = codec.decode(TrainingJob, self._attempt.job_path.read_bytes())
        (self.folder / _IMAGES).mkdir(parents=True, exist_ok=True)
        images = []
        for image in job.images:
            path = self._placed(image.path)
            mask = self._placed(image.mask_path, "mask-") if image.mask_path else None
            images.append(image.model_copy(update={"path": path, "mask_path": mask}))
        if job.champion_dir is not None:
            _place_folder(Path(job.champion_dir), self.folder / _CHAMPION)
        there = {
            "images": images,
            "champion_dir": _CHAMPION if job.champion_dir is not None else None,
            "output_dir": self.output.name,
        }
        self._take_up()
        write_whole(self.folder / self.job_name, codec.encode(job.model_copy(update=there)))
        return job.workers

    def bring_back(self) -> None:
        """The results into the attempt's own folder, in place of what lies there.

        Raises:
            TrainingBackendError: there is something else than files, or no package.
            OSError: it cannot be read or written.
        """
        part = self._attempt.folder / _PART
        shutil.rmtree(part, ignore_errors=True)
        # Links are taken as links and refused: what a machine of the cluster writes must not name files of this one.
        apart = shutil.ignore_patterns(RESUME_FOLDER, CLUSTER_FOLDER)
        shutil.copytree(self.output, part, symlinks=True, ignore=apart)
        for path in part.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise TrainingBackendError(f"result {path.relative_to(part)}: expected a plain file or folder")
        for name in (EVALUATION_NAME, PACKAGE_FOLDER):
            if not (part / name).exists():
                raise TrainingBackendError(f"result: expected {name} in {self.output}, there is none")
        shutil.rmtree(self._attempt.output, ignore_errors=True)
        part.replace(self._attempt.output)

    def sweep(self, *, goes_on: bool = False) -> None:
        """Take it off the shared storage, earlier attempts with it. What does not let itself be deleted stays.

        `goes_on`: pictures stay for the next attempt, and the steps that are done.
        """
        if goes_on:
            self._sweep_results()
            return
        for number in range(1, self._attempt.number + 1):
            shutil.rmtree(self._output_of(number), ignore_errors=True)
            with suppress(OSError):
                self._job_of(number).unlink(missing_ok=True)
        for folder in (self.folder / _IMAGES, self.folder / _CHAMPION):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _sweep_results(self) -> None:
        with suppress(OSError):
            for path in self.output.iterdir():
                if path.is_dir() and not path.is_symlink():
                    if path.name != RESUME_FOLDER:
                        shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _take_up(self) -> None:
        """The steps that the last of the earlier attempts had done. The trainer checks what they are, by digests."""
        kept = self.output / RESUME_FOLDER
        for number in range(self._attempt.number - 1, 0, -1):
            earlier = self._output_of(number) / RESUME_FOLDER
            if earlier.is_dir() and not earlier.is_symlink() and not kept.exists():
                self.output.mkdir(parents=True, exist_ok=True)
                earlier.replace(kept)
                return

    def _output_of(self, number: int) -> Path:
        return self.folder / f"output-{number}"

    def _job_of(self, number: int) -> Path:
        return self.folder / f"job-{number}.json"

    def _placed(self, path: str, prefix: str = "") -> str:
        source = Path(path)
        name = f"{_IMAGES}/{prefix}{source.name}"
        _place(source, self.folder / name)
        return name


def _place_folder(source: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file():
            _place(path, destination / path.name)


def _place(source: Path, destination: Path) -> None:
    """A copy, never a link: the cluster may write there, and these are central's originals."""
    if destination.exists():
        return
    beside = destination.with_name(f".{destination.name}.{os.getpid()}")
    shutil.copyfile(source, beside)
    beside.replace(destination)
