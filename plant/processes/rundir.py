# SPDX-License-Identifier: Apache-2.0
"""The data folder of one plant: its lock and its log files.

Two plants on one folder would fight over databases and trust keys, so the folder is locked while one runs.
Does not know what the other files in it are. Used by `plant.processes.site` and `plant.processes.supervisor`.
"""

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import BinaryIO, Final

from plant.errors import UsageError

LOCK_NAME: Final = "plant.lock"
MAX_LOG_BYTES: Final = 4 * 1024 * 1024
KEPT_LOG_FILES: Final = 3


class FolderLock:
    """Holds a data folder for one running plant. The kernel drops the lock when the process dies."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; makes the folder.

        Raises:
            UsageError: the folder cannot be made or written, or a plant is running on it.
        """
        self._path = folder / LOCK_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            got = "a file" if folder.is_file() else f"the error {error.strerror!r}"
            msg = (
                f"data folder {folder}: expected a folder that can be made and written, got {got}; "
                "give another folder with --data"
            )
            raise UsageError(msg) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._descriptor, 64).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            msg = (
                f"data folder {folder}: a plant is running on it already (process {owner}); "
                "stop that one, or give another folder with --data"
            )
            raise UsageError(msg) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the folder back. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_owner(folder: Path) -> int | None:
    """Process id of the plant that runs on this folder, or None when none does."""
    path = folder / LOCK_NAME
    if not path.is_file():
        return None
    with path.open("r+b") as handle:
        try:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with contextlib.suppress(ValueError):
                return int(handle.read(64))
            return 0
        return None


class RotatingLog:
    """A log file bounded in bytes: when full it becomes `.1`, `.1` becomes `.2`, the oldest is dropped."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES, kept: int = KEPT_LOG_FILES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._max_bytes, self._kept = path, max_bytes, kept
        self._lock = threading.Lock()
        self._handle: BinaryIO | None = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    def write(self, line: bytes) -> None:
        """Append bytes. Lossy when the disk is full: the plant goes on without its log."""
        with self._lock, contextlib.suppress(OSError):
            if self._handle is None:
                return
            if self._size + len(line) > self._max_bytes:
                self._rotate()
            self._handle.write(line)
            self._size += len(line)

    def _rotate(self) -> None:
        if self._handle is not None:
            self._handle.close()
        for index in range(self._kept - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{index}")
            newer = self._path if index == 1 else self._path.with_name(f"{self._path.name}.{index - 1}")
            if newer.exists():
                newer.replace(older)
        self._handle = self._path.open("wb", buffering=0)
        self._size = 0

    def close(self) -> None:
        """Close the file. Later writes are dropped."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None
