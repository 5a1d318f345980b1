# SPDX-License-Identifier: Apache-2.0
"""Writes files whole, and says what a person can do about a disk that is full or may not be written.

Called by `training` and `reporting`.
"""

import errno
import shutil
from pathlib import Path
from typing import Final

from models.errors import InputError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_BARRED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half. A failure leaves no half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
