# SPDX-License-Identifier: Apache-2.0
"""The disk is asked now and then, and never believed to have more than it may have."""

from pathlib import Path

import pytest

from edge_agent.reporting import free_room
from edge_agent.reporting.free_room import FreeRoom


class Disk:
    """Counts how often it is asked."""

    def __init__(self, free: int) -> None:
        self.free, self.asked = free, 0

    def __call__(self, _folder: Path) -> int:
        self.asked += 1
        return self.free


@pytest.fixture(name="disk")
def _disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(10**9)
    monkeypatch.setattr(free_room, "free_bytes", made)
    return made


def test_what_was_written_since_the_last_look_counts(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("edge_agent.reporting.free_room.time.monotonic", lambda: now[0])
    room = FreeRoom(tmp_path)
    assert room.lately() == 10**9
    room.wrote(3 * 10**8)
    assert (room.lately(), disk.asked) == (7 * 10**8, 1)
    # Somebody else wrote: seen at the next look, a quarter of a second later.
    disk.free = 2 * 10**8
    assert room.lately() == 7 * 10**8
    now[0] += 0.3
    assert (room.lately(), disk.asked) == (2 * 10**8, 2)


@pytest.mark.usefixtures("disk")
def test_near_a_bound_nothing_is_taken_for_sure(tmp_path: Path) -> None:
    room = FreeRoom(tmp_path)
    assert room.is_surely(10**9 - 64 * 2**20)
    assert not room.is_surely(10**9 - 64 * 2**20 + 1)
    room.wrote(1)
    assert not room.is_surely(10**9 - 64 * 2**20)


def test_the_disk_under_the_folder_is_meant(tmp_path: Path) -> None:
    assert FreeRoom(tmp_path).now() > 0
