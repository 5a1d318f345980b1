# SPDX-License-Identifier: Apache-2.0
"""Lines to do damage to: with a real broker and a real central, or alone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plant.processes.broker import find_mosquitto
from tests.faults.disks import Disk
from tests.faults.line import Line


@pytest.fixture(name="line")
def _line(tmp_path: Path) -> Iterator[Line]:
    """A line with mosquitto and central."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    made = Line(tmp_path, tmp_path / "data")
    try:
        made.open_central()
        yield made
    finally:
        made.close()


@pytest.fixture(name="make_disk")
def _make_disk(line: Line, tmp_path: Path) -> Callable[[int], Disk]:
    """`make_disk(mib)`: an ext4 file system of that size, gone with the line."""

    def make(size_mib: int) -> Disk:
        disk = Disk(tmp_path / "disk.img", tmp_path / "disk", size_mib)
        if (reason := disk.make()) is not None:
            pytest.skip(reason)
        # The line unmounts it, once its station is dead.
        line.disks.append(disk)
        return disk

    return make
