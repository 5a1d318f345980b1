# SPDX-License-Identifier: Apache-2.0
"""What lies in a folder of pictures, as far as it may be looked at; what may not is told and costs nothing else.

Knows names only: opens no picture and judges none. Called by `layouts`.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from models.data.pictures import told

# .gif is no format of a station, but one frame of it can be read, and several are refused by name.
SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


def pictures_in(folder: Path) -> list[Path]:
    """Files with the name of a picture, in order; none where the folder is not there or may not be looked into."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not is_companion(path))
    except OSError:
        # `shut_in` tells of it.
        return []


def folders_of(found: Iterable[Path]) -> list[Path]:
    """Those that are folders, in order."""
    return sorted(path for path in found if _is_folder(path) and not is_companion(path))


def is_companion(path: Path) -> bool:
    """Names that begin with a dot are what other systems leave beside pictures, such as their thumbnails."""
    return path.name.startswith(".")


def is_there(path: Path) -> bool:
    """Whether something is there to be seen; a name that no file can have is not."""
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether a file is there to be seen."""
    try:
        return path.is_file()
    except OSError:
        return False


def shut_in(folder: Path) -> list[str]:
    """A line for every folder below this one that may not be looked into, and whose pictures nobody knows therefore."""
    shut: list[OSError] = []
    for _, names, _ in os.walk(folder, onerror=shut.append):
        names[:] = sorted(name for name in names if not name.startswith("."))
    return [
        f"{told(Path(error.filename))}: a folder that cannot be looked into ({error.strerror}); allow it (chmod u+rx), "
        "or move it away"
        for error in shut
    ]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
