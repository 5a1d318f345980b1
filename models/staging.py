# SPDX-License-Identifier: Apache-2.0
"""Folders in which results come about before they get their name: marked as ours, so that nobody else's is swept away.

A killed run leaves its folder, and the next one may only remove what carries the mark. Knows nothing of what comes
about. Called by `packages.writing`, `training.results` and `training.fit_budget`.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Final

from models.errors import InputError

_MARK: Final = ".sightline-models"
_TOLD: Final = b"Half-written results of sightline-models. Its next run removes this folder.\n"


def staging_of(path: Path) -> Path:
    """Where the results that will be named `path` come about."""
    return path.with_name(f".{path.name}.part")


def is_strange(folder: Path) -> bool:
    """Whether something stands there that no run of ours left. An empty folder is a run's that had just begun."""
    if folder.is_symlink() or not folder.is_dir():
        return folder.is_symlink() or folder.exists()
    return not (folder / _MARK).is_file() and any(folder.iterdir())


def begin_staging(folder: Path) -> None:
    """Make the folder anew, with nothing but the mark in it.

    Raises:
        InputError: what stands there is somebody else's; it stays as it is.
        OSError: it cannot be made.
    """
    if is_strange(folder):
        raise InputError(f"{folder}: holds what no run left there; move it away, or give another folder")
    _remove(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).write_bytes(_TOLD)


def end_staging(folder: Path) -> None:
    """Away with it, where it is ours. What cannot be removed stays for the next run."""
    with contextlib.suppress(OSError):
        if not is_strange(folder):
            _remove(folder)


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    # The mark last: a run that is killed amid this leaves what is still known as ours.
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name == _MARK):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    folder.rmdir()
