# SPDX-License-Identifier: Apache-2.0
"""Writes files and sets of results whole, and says what to do about a disk that is full or may not be written.

Called by `training` and `reporting`.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.errors import InputError

_EARLIER: Final = ".earlier"
_LOCK: Final = ".lock"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_BARRED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half. A failure leaves no half.

    A link stays and its target is replaced; what is no file (a pipe, a device) is written into.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Replacement:
    """Results of an earlier run, kept aside while new ones take their place, and brought back when that fails.

    Args:
        folder: holds the results.
        names: files and folders, all or none of which are to be replaced; the first one is what makes the others
            count, so it goes first and comes back last.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names
        self._aside = folder / _EARLIER
        self._is_begun = False

    def recover(self) -> None:
        """Settle what a killed run left: its results if they are whole, else the earlier ones."""
        if not self._aside.exists():
            return
        if (self._folder / self._names[0]).exists():
            shutil.rmtree(self._aside)
        else:
            self._bring_back()

    def begin(self) -> None:
        """From here on new results may be written."""
        self._aside.mkdir(exist_ok=True)
        self._is_begun = True
        for name in self._names:
            if (self._folder / name).exists():
                (self._folder / name).replace(self._aside / name)

    def keep(self) -> None:
        """The new results are whole."""
        shutil.rmtree(self._aside, ignore_errors=True)
        self._is_begun = False

    def undo(self) -> None:
        """The new results failed: sweep them away and bring the earlier ones back. Nothing when not begun."""
        if self._is_begun:
            self._bring_back()
            self._is_begun = False

    def _bring_back(self) -> None:
        for name in self._names:
            path = self._folder / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for name in reversed(self._names):
            if (self._aside / name).exists():
                (self._aside / name).replace(self._folder / name)
        shutil.rmtree(self._aside, ignore_errors=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder against a second process that would write the same results.

    Raises:
        InputError: another process has it.
    """
    path = folder / _LOCK
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise InputError(
                f"{folder}: another training writes its results there; wait for its end or give another folder"
            ) from error
        # Whoever had it may have removed it between our opening and our holding it.
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            break
        file.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def as_unwritable(error: BaseException, folder: Path) -> InputError | None:
    """What a person can do about a disk that is full or may not be written; None: the error is another one.

    Ask once what was written is swept away: the free space told is then what it did not fit into.
    """
    if not isinstance(error, OSError) or error.errno not in _FULL | _BARRED:
        return None
    place = Path(error.filename).parent if isinstance(error.filename, str) else folder
    if error.errno in _BARRED:
        # Elsewhere it may be reading that was refused.
        if not place.is_relative_to(folder):
            return None
        return InputError(f"{place}: cannot be written ({error.strerror}); allow it, or give another folder")
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return InputError(f"{place}: the disk is full; free some space, or give another folder, and run again")
    return InputError(
        f"{place}: the disk is full, the results do not fit into the {usage.free / 1e6:.1f} MB free of "
        f"{usage.total / 1e6:.1f} MB; free some space, or give another folder, and run again"
    )
