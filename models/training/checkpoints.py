# SPDX-License-Identifier: Apache-2.0
"""Steps of a training that are done, kept in `.resume/` of its output folder, so that a stopped one can go on.

Each step is written whole under a name that says what it was made from; what belongs to another training (other
pictures, settings, weights or version) is swept away. A disk that takes no more costs the checkpoint, never the
training. Does not know what the steps are. Called by `job`.
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

from models.files import write_whole

_log = logging.getLogger(__name__)
RESUME_FOLDER: Final = ".resume"
_OWNER: Final = "training.sha256"


def digest_of(parts: Sequence[object]) -> str:
    """SHA-256 of what something was made from."""
    return hashlib.sha256("\x1f".join(repr(part) for part in parts).encode(errors="surrogateescape")).hexdigest()


class Checkpoints:
    """See the module. `folder` None keeps nothing."""

    def __init__(self, folder: Path | None, training: str, notes: list[str]) -> None:
        """Open what an earlier run of the same training kept.

        Args:
            folder: of the results.
            training: digest of all that the training rests on.
            notes: told what was found, and what could not be kept.
        """
        self._folder = None if folder is None else folder / RESUME_FOLDER
        self._notes = notes
        if self._folder is None or not self._folder.is_dir():
            self._begin(training)
            return
        owner = self._folder / _OWNER
        if owner.is_file() and owner.read_text(encoding="ascii", errors="replace") == training:
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
        path = None if self._folder is None else self._folder / name
        if path is not None and path.is_file():
            self._notes.append(f"resume: {name} taken from the run before")
            return path.read_bytes()
        content = make()
        self._write(name, content)
        return content

    def array(self, name: str, make: Callable[[], NDArray[np.float16]]) -> NDArray[np.float16]:
        """The same for an array."""
        path = None if self._folder is None else self._folder / name
        if path is not None and path.is_file():
            self._notes.append(f"resume: {name} taken from the run before")
            kept: NDArray[np.float16] = np.load(path, allow_pickle=False)
            return kept
        made = make()
        if self._folder is not None:
            buffer = io.BytesIO()
            np.save(buffer, made, allow_pickle=False)
            self._write(name, buffer.getbuffer())
        return made

    def sweep(self) -> None:
        """The training is done, or its steps are of no more use."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, name: str, content: bytes | memoryview) -> None:
        if self._folder is None:
            return
        try:
            write_whole(self._folder / name, content)
        except OSError as error:
            # A full disk may still take the results, which are far smaller than the features.
            self._notes.append(f"resume: {name} could not be kept ({error.strerror}); a stop would cost this step")
            _log.warning("checkpoint_lost=%s error=%s", name, error)
