# SPDX-License-Identifier: Apache-2.0
"""Disk space set aside for the moment when the disk is full.

SQLite needs room in its log even to delete rows. On a full disk the outbox could not act on receipts, so it would
never shrink again; giving up this file makes the room. Knows nothing of the outbox; used by `outbox_file` alone.
"""

import os
from pathlib import Path


class DiskReserve:
    """One file of a fixed size, held or given up."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self.is_held = False

    def take(self) -> bool:
        """Set the space aside. Returns whether it is held now; False: the disk has no room for it."""
        if self.is_held:
            return True
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size_bytes)
        except OSError:
            self.give_up()
            return False
        self.is_held = True
        return True

    def give_up(self) -> None:
        """Free the space."""
        self.is_held = False
        self._path.unlink(missing_ok=True)
