# SPDX-License-Identifier: Apache-2.0
"""A small ext4 file system in a file, mounted through a loop device, whose power can be cut.

`cut` takes what the kernel has handed to the device and nothing of what it still holds in memory: the image is read
while the file system is mounted, without a sync, until two reads in a row are equal, so that it is one moment. What it
cannot show is a disk that loses what it was handed and not told to flush: that needs device-mapper or a device of one's
own. Used by the tests of this folder.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TRIES: Final = 200


@dataclass
class Disk:
    """`image` mounted at `folder`."""

    image: Path
    folder: Path
    size_mib: int
    is_mounted: bool = False

    def make(self) -> str | None:
        """Make and mount it. Returns why that cannot be done here."""
        with self.image.open("wb") as file:
            file.truncate(self.size_mib * 2**20)
        self.folder.mkdir()
        try:
            # No room kept for root: the station must meet the end of the disk, whoever runs the test.
            made = subprocess.run(
                ["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", str(self.image)],
                capture_output=True,
                text=True,
                check=False,
            )
            return f"mkfs.ext4: {made.stderr.strip()}" if made.returncode else self.mount()
        except FileNotFoundError as error:
            return f"{error.filename} is not installed"

    def mount(self) -> str | None:
        """Mount it. Returns why that cannot be done here."""
        done = subprocess.run(
            ["mount", "-o", "loop", str(self.image), str(self.folder)], capture_output=True, text=True, check=False
        )
        self.is_mounted = done.returncode == 0
        return None if self.is_mounted else f"mounting is not permitted here: {done.stderr.strip()}"

    def unmount(self) -> None:
        """May be called twice."""
        if self.is_mounted:
            subprocess.run(["umount", str(self.folder)], check=True)
            self.is_mounted = False

    def cut(self) -> bytes:
        """What the device has at this moment."""
        before = self.image.read_bytes()
        for _ in range(_TRIES):
            after = self.image.read_bytes()
            if after == before:
                return after
            before = after
        msg = "the disk does not stand still"
        raise AssertionError(msg)

    def restore(self, content: bytes) -> None:
        """Power is back: the disk as it was cut. Whoever had it open is dead."""
        self.unmount()
        self.image.write_bytes(content)
        assert self.mount() is None
