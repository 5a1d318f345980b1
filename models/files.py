# SPDX-License-Identifier: Apache-2.0
"""Writes files and sets of results whole, and says what to do about a disk that is full or may not be written.

Called by `training`, `packages` and `reporting`.
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

    Raises:
        InputError: where it would come about stands a folder or a link of somebody else's.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    if temporary.is_symlink() or (temporary.exists() and not temporary.is_file()):
        raise InputError(f"{temporary}: holds what no run left there; move it away, or give another folder")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Replacement:
    """Results of an earlier run, kept aside while new ones take their place, and brought back when that fails.

    The name of the folder aside says what stands at the results' own places, so that whatever fails or is killed, the
    next to look can settle it:

    | aside | at their own places |
    |---|---|
    | `.earlier.part` | earlier results on their way out or back; never new ones |
    | `.earlier` | new ones alone, whole once the first name is there; all earlier ones are aside |

    Args:
        folder: holds the results.
        names: files and folders, all or none of which are to be replaced; the first one is what makes the others
            count, so it goes first and comes back last.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names
        self._aside = folder / _EARLIER
        self._moving = folder / f"{_EARLIER}.part"
        self._is_begun = False

    def recover(self) -> None:
        """Settle what a killed run left: its results if they are whole, else the earlier ones.

        Raises:
            InputError: what lies aside was left there by somebody else, or is of no more use and cannot be removed.
            OSError: it cannot be settled; nothing of it is lost.
        """
        for aside in (self._aside, self._moving):
            if aside.exists() and (not aside.is_dir() or {each.name for each in aside.iterdir()} - set(self._names)):
                raise InputError(
                    f"{aside}: holds what no run left there; move it away, or give another folder for the results"
                )
        if self._aside.exists() and (self._folder / self._names[0]).exists():
            try:
                _remove(self._aside)
            except OSError as error:
                raise InputError(
                    f"{self._aside}: what an earlier run left cannot be removed ({error.strerror}); remove it, or give "
                    "another folder"
                ) from error
        else:
            self._bring_back()

    def begin(self) -> None:
        """From here on new results may be written.

        Raises:
            InputError: an earlier result cannot be moved; those that could be come back with `undo`.
        """
        self._is_begun = True
        self._moving.mkdir(exist_ok=True)
        for name in self._names:
            if (path := self._folder / name).exists():
                try:
                    path.replace(self._moving / name)
                except OSError as error:
                    raise InputError(
                        f"{path}: cannot be replaced ({error.strerror}); allow it, or give another folder"
                    ) from error
        self._moving.replace(self._aside)

    def keep(self) -> None:
        """The new results are whole."""
        shutil.rmtree(self._aside, ignore_errors=True)
        self._is_begun = False

    def undo(self) -> None:
        """The new results failed: sweep them away and bring the earlier ones back. Nothing when not begun.

        Raises:
            OSError: that failed too; the earlier ones stay aside, whole, for the next `recover`.
        """
        if self._is_begun:
            self._bring_back()
            self._is_begun = False

    def _bring_back(self) -> None:
        if self._aside.exists():
            for name in self._names:
                _remove(self._folder / name)
            # From here on what stands at its own place is an earlier result again, and must not be swept.
            self._aside.replace(self._moving)
        if self._moving.exists():
            for name in reversed(self._names):
                if (self._moving / name).exists():
                    (self._moving / name).replace(self._folder / name)
            self._moving.rmdir()


def _remove(path: Path) -> None:
    """A file or folder, where there is one.

    Raises:
        OSError: names the path; `rmtree` names the entry alone.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder against a second process that would write the same results.

    Raises:
        InputError: another process has it, or a file of somebody else's has the lock's name.
        OSError: the lock cannot be made; a link is not followed.
    """
    path = folder / _LOCK
    while True:
        # Never emptied: what stands in it is not ours.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+b")
        if os.fstat(file.fileno()).st_size:
            file.close()
            raise InputError(f"{path}: holds what no run left there; move it away, or give another folder")
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
