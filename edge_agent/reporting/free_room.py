# SPDX-License-Identifier: Apache-2.0
"""How much of the disk under a folder is free, asked now and then and not before every picture.

Removes nothing. Used by `reporting.ring`, whose thread is the only one that writes there.
"""

import math
import os
import time
from pathlib import Path
from typing import Final

_LOOK_S: Final = 0.25
# What others may write between two looks; nearer to a bound the disk is asked every time.
_NEAR_BYTES: Final = 64 * 2**20


class FreeRoom:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked_s, self._then_bytes, self._wrote_bytes = -math.inf, 0, 0

    def now(self) -> int:
        """Bytes that are free."""
        return free_bytes(self._folder)

    def lately(self) -> int:
        """The same as of a quarter of a second ago at most, less what was written here since."""
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s, self._then_bytes, self._wrote_bytes = now_s, self.now(), 0
        return self._then_bytes - self._wrote_bytes

    def is_surely(self, wanted_bytes: int) -> bool:
        """Whether so much is free, whatever others wrote since the last look."""
        return self.lately() >= wanted_bytes + _NEAR_BYTES

    def wrote(self, size_bytes: int) -> None:
        """So much was added."""
        self._wrote_bytes += size_bytes


def free_bytes(folder: Path) -> int:
    """Bytes of its disk that are free."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
