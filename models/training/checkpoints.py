# SPDX-License-Identifier: Apache-2.0
"""Steps of a training that are done, kept in `.resume/` of its output folder, so that a stopped one can go on.

Each step is written whole under a name that says what it was made from; what belongs to another training (other
pictures, settings, weights or version) is swept away. A disk that takes no more costs the checkpoint, never the
training. Does not know what the steps are. Called by `job`, `gathering` and `commands`.
"""

import hashlib
import io
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import RESUME_FOLDER
from models.errors import InputError
from models.files import write_whole

_log = logging.getLogger(__name__)
_OWNER: Final = "training.sha256"
_DIGEST: Final = ".digest"


def digest_of(parts: Sequence[object]) -> str:
    """SHA-256 of what something was made from."""
    return hashlib.sha256("\x1f".join(repr(part) for part in parts).encode(errors="surrogateescape")).hexdigest()


def sweep_kept(folder: Path) -> None:
    """Away with the steps that a stopped training kept in its folder of results; what no training left stays."""
    if (folder / RESUME_FOLDER / _OWNER).is_file():
        shutil.rmtree(folder / RESUME_FOLDER, ignore_errors=True)


class Checkpoints:
    """See the module. `folder` None keeps nothing."""

    def __init__(self, folder: Path | None, training: str, notes: list[str]) -> None:
        """Open what an earlier run of the same training kept.

        Args:
            folder: of the results.
            training: digest of all that the training rests on.
            notes: told what was found, and what could not be kept.

        Raises:
            InputError: the folder for the steps is somebody else's.
        """
        self._folder = None if folder is None else folder / RESUME_FOLDER
        self._notes = notes
        if self._folder is None or not self._folder.is_dir():
            self._begin(training)
            return
        owner = self._folder / _OWNER
        # A run that was killed before it had signed leaves no more than its half-written name.
        if not owner.is_file() and {each.name for each in self._folder.iterdir()} <= {f".{_OWNER}.part"}:
            self._begin(training)
            return
        if not owner.is_file():
            raise InputError(
                f"--resume: {self._folder} holds what no training left there; move it away, or give another --out"
            )
        if owner.read_text(encoding="ascii", errors="replace") == training:
            return
        notes.append(
            "resume: the steps kept were of another training (pictures, settings or version), so it began anew"
        )
        self.sweep()
        self._begin(training)

    def _begin(self, training: str) -> None:
        if self._folder is not None:
            self._write(_OWNER, training.encode())

    def content(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The bytes of a step: as kept, or made and kept."""
        if (kept := self._kept(name)) is not None:
            return kept
        content = make()
        self._keep(name, content)
        return content

    def array(self, name: str, make: Callable[[], NDArray[np.float16]]) -> NDArray[np.float16]:
        """The same for an array."""
        if (kept := self._kept(name)) is not None:
            array: NDArray[np.float16] = np.load(io.BytesIO(kept), allow_pickle=False)
            return array
        made = make()
        if self._folder is not None:
            buffer = io.BytesIO()
            np.save(buffer, made, allow_pickle=False)
            self._keep(name, buffer.getvalue())
        return made

    @property
    def is_keeping(self) -> bool:
        """Whether anything is kept at all."""
        return self._folder is not None

    def kept(self, name: str) -> bytes | None:
        """The state of a step that is not done, as kept last; None: nothing of it, or not what was kept."""
        return self._kept(name)

    def keep(self, name: str, content: bytes) -> None:
        """The state of a step that is not done, in place of an earlier one."""
        self._keep(name, content)

    def _kept(self, name: str) -> bytes | None:
        """What was kept, if it is still what was written: a disk may have lost it in a power cut."""
        if self._folder is None or not (self._folder / name).is_file():
            return None
        content = b""
        try:
            content = (self._folder / name).read_bytes()
            digest = (self._folder / f"{name}{_DIGEST}").read_text(encoding="ascii", errors="replace")
        except OSError:
            digest = ""
        if digest != hashlib.sha256(content).hexdigest():
            self._notes.append(f"resume: {name} is not what was kept, so the step was done again")
            return None
        self._notes.append(f"resume: {name} taken from the run before")
        return content

    def _keep(self, name: str, content: bytes) -> None:
        # The digest first: what has none, or an older one, is done again.
        self._write(f"{name}{_DIGEST}", hashlib.sha256(content).hexdigest().encode())
        self._write(name, content)

    def sweep(self) -> None:
        """The training is done, or its steps are of no more use."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, name: str, content: bytes) -> None:
        if self._folder is None:
            return
        try:
            write_whole(self._folder / name, content)
        except OSError as error:
            # A full disk may still take the results, which are far smaller than the features.
            self._notes.append(f"resume: {name} could not be kept ({error.strerror}); a stop would cost this step")
            _log.warning("checkpoint_lost=%s error=%s", name, error)
