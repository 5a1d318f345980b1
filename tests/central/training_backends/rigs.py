# SPDX-License-Identifier: Apache-2.0
"""What the battery needs of each backend: made with a stub trainer of some mode, a job to give it, where it runs."""

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from central.learning_settings import RaySettings
from central.training_backends.local import LocalBackend
from central.training_backends.ray import RayBackend
from central.training_backends.results import read_progress
from central.training_backends.seam import Attempt, Look, Standing, TrainingBackend
from central.trust.keys import write_whole
from contracts import codec
from contracts.jobs import TrainingImage, TrainingJob
from contracts.vocabulary import Judgement, LabelSource, PartUse
from tests.central.services.bench import Bench
from tests.central.services.trainers import end_trainings, trainer

IMAGES = 12
OVER = (Standing.ENDED, Standing.LOST, Standing.ABSENT)


@dataclass
class Rig:
    """One backend under test. `make`: with a command; `where`: the folder of an attempt as its trainer sees it."""

    make: Callable[[tuple[str, ...]], TrainingBackend]
    where: Callable[[Attempt], Path]
    output: Callable[[Attempt], Path]
    folder: Path

    def stub(self, mode: str) -> TrainingBackend:
        return self.make(trainer(mode))

    def attempt(self) -> Attempt:
        """A job with pictures, as `services/trainings/jobs.py` lays it out."""
        training_id = f"t-{uuid.uuid4().hex[:12]}"
        folder = self.folder / "trainings" / training_id
        (folder / "images").mkdir(parents=True)
        images = []
        for index in range(IMAGES):
            content = f"picture {index}".encode()
            path = folder / "images" / f"{index}.png"
            path.write_bytes(content)
            images.append(
                TrainingImage(
                    path=str(path),
                    sha256=hashlib.sha256(content).hexdigest(),
                    judgement=Judgement.GOOD if index < 8 else Judgement.DEFECTIVE,
                    group=f"part-{index}",
                    use=PartUse.HOLDOUT if index % 3 == 0 else PartUse.TRAIN,
                    source=LabelSource.REFERENCE,
                )
            )
        attempt = Attempt(training_id, 1, folder)
        job = TrainingJob(
            training_id=training_id,
            product="ring",
            reason="asked for by the test",
            is_simulated=True,
            images=images,
            output_dir=str(attempt.output),
        )
        write_whole(attempt.job_path, codec.encode(job))
        return attempt

    def latest(self, bench: Bench) -> Attempt:
        """The one attempt of the bench's one training."""
        (row,) = bench.trainings()
        return Attempt(row.training_id, row.starts, bench.trainings_dir / row.training_id, row.handle)

    def runs(self, attempt: Attempt) -> int:
        """How often a trainer was run on it."""
        try:
            return len((self.where(attempt) / "runs").read_text().split())
        except FileNotFoundError:
            return 0

    def pid(self, attempt: Attempt) -> int:
        """Of the trainer, by its own word."""
        progress = read_progress(self.output(attempt))
        assert progress is not None
        assert progress.pid is not None
        return progress.pid


def local_rig(folder: Path) -> Iterator[Rig]:
    made: list[LocalBackend] = []

    def make(command: tuple[str, ...]) -> LocalBackend:
        made.append(LocalBackend(command))
        return made[-1]

    yield Rig(make, lambda attempt: attempt.folder, lambda attempt: attempt.output, folder)
    end_trainings(folder / "trainings")
    for child in (child for backend in made for child in backend.children):
        child.wait()


def ray_rig(folder: Path, address: str, **options: Any) -> Iterator[Rig]:
    shared = folder / "shared"
    shared.mkdir()
    settings = RaySettings(address=address, folder=str(shared), cpus=0.5, answer_timeout_s=60.0, **options)

    def make(command: tuple[str, ...]) -> RayBackend:
        return RayBackend(replace(settings, command=command))

    def where(attempt: Attempt) -> Path:
        return shared / attempt.training_id

    yield Rig(make, where, lambda attempt: where(attempt) / f"output-{attempt.number}", folder)
    headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
    with httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=60) as http:
        for job in http.get("/api/jobs/").json():
            if job["submission_id"] and job["status"] in ("PENDING", "RUNNING"):
                http.post(f"/api/jobs/{job['submission_id']}/stop")


def look_until(
    backend: TrainingBackend, attempt: Attempt, is_so: Callable[[Look], object], wait_s: float = 240
) -> Look:
    """Look as central does, until it is so."""
    deadline = time.monotonic() + wait_s
    while True:
        look = backend.look(attempt)
        if is_so(look):
            return look
        assert time.monotonic() < deadline, look
        time.sleep(0.05)


def until_over(backend: TrainingBackend, attempt: Attempt) -> Look:
    return look_until(backend, attempt, lambda look: look.standing in OVER)


def until_fitting(backend: TrainingBackend, attempt: Attempt) -> Look:
    """The trainer has said its first word."""
    return look_until(backend, attempt, lambda look: look.progress is not None and look.progress.stage == "fitting")


def wait_for(is_so: Callable[[], object], words: str, wait_s: float = 120) -> None:
    deadline = time.monotonic() + wait_s
    while not is_so():
        assert time.monotonic() < deadline, words
        time.sleep(0.05)


def is_there(pid: int) -> bool:
    """Whether a process of this number runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def end(pid: int, number: int) -> None:
    os.kill(pid, number)
