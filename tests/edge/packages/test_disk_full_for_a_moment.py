# SPDX-License-Identifier: Apache-2.0
"""Going back on a disk that is full for a moment is put off, said as a fault, and done once there is room."""

import errno
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.commands import ChallengerAssignment
from contracts.vocabulary import PackageState, RefusalReason
from edge_agent.packages import accepted, store
from tests.edge.packages.conftest import Bench
from tests.fakes.packages import BuiltPackage


class Disk:
    """A real disk, until it is full for files of one name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write = store.write_whole
        self.full_for = ""
        self.refused = 0
        for module in (store, accepted):
            monkeypatch.setattr(module, "write_whole", self.write)

    def write(self, path: Path, content: bytes) -> None:
        if path.name == self.full_for:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        self._write(path, content)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def _second_judges(bench: Bench) -> tuple[BuiltPackage, BuiltPackage]:
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    for number, package in enumerate((first, second), 1):
        bench.assign(number, {"ring": package.package_id})
        bench.wait_active(package)
    return first, second


def _faults(bench: Bench) -> dict[str, str]:
    return {fault.code: fault.remedy for fault in bench.installer.faults()}


@pytest.mark.parametrize(("name", "code"), [("slots.json", "package-disk"), ("assignment.json", "assignment-disk")])
def test_going_back_is_done_without_a_word_from_central_once_the_disk_has_room(
    bench: Bench, disk: Disk, name: str, code: str
) -> None:
    first, second = _second_judges(bench)
    disk.full_for = name
    bench.assign(3, {"ring": first.package_id})
    bench.wait(lambda: disk.refused > 1)
    assert [loaded.package_id for loaded in bench.slots.snapshot()] == [second.package_id]
    assert "it is tried again by itself" in _faults(bench)[code]
    told = bench.status()
    assert RefusalReason.DISK in (told.refused, *(row.reason for row in told.packages))
    disk.full_for = ""
    bench.wait_active(first)
    assert bench.store.slots("ring").current == first.package_id
    bench.wait(lambda: _faults(bench) == {})


def test_product_that_is_no_longer_assigned_is_a_fault_until_its_slot_is_cleared(bench: Bench, disk: Disk) -> None:
    first, other = bench.built("first"), bench.built("other", "cap")
    bench.start()
    bench.assign(1, {"ring": first.package_id, "cap": other.package_id})
    bench.wait_active(other, "cap")
    disk.full_for = "slots.json"
    bench.assign(2, {"ring": first.package_id})
    bench.wait(lambda: disk.refused > 1)
    assert list(_faults(bench)) == ["package-disk"]
    disk.full_for = ""
    bench.wait(lambda: bench.store.slots("cap").current is None and _faults(bench) == {})


def test_assignment_that_the_disk_does_not_take_is_answered_once(bench: Bench, disk: Disk) -> None:
    first, _ = _second_judges(bench)
    disk.full_for = "assignment.json"
    bench.assign(3, {"ring": first.package_id})
    bench.wait(lambda: disk.refused > 3)
    assert bench.installer.counters.assignments_refused == 1


def test_newer_assignment_takes_the_place_of_one_that_waits_for_the_disk(bench: Bench, disk: Disk) -> None:
    first, second = _second_judges(bench)
    disk.full_for = "assignment.json"
    bench.assign(3, {"ring": first.package_id})
    bench.wait(lambda: disk.refused > 0)
    bench.assign(4, {"ring": second.package_id})
    bench.wait(lambda: bench.installer.counters.assignments_refused == 2)
    disk.full_for = ""
    bench.wait(lambda: bench.status().assignment_number == 4 and bench.status().refused is None)
    bench.wait(lambda: bench.installer._unnoted is None and _faults(bench) == {})
    assert [loaded.package_id for loaded in bench.slots.snapshot()] == [second.package_id]


def test_assignment_that_ran_out_while_it_waited_is_tried_no_more(bench: Bench, disk: Disk) -> None:
    first, second = _second_judges(bench)
    disk.full_for = "assignment.json"
    bench.assign(3, {"ring": first.package_id}, lifetime=timedelta(seconds=2))
    bench.wait(lambda: bench.status().refused is RefusalReason.EXPIRED)
    disk.full_for = ""
    bench.wait(lambda: bench.installer._unnoted is None and _faults(bench) == {})
    bench.wait_state(second, PackageState.ACTIVE)


@pytest.mark.parametrize("is_shadow", [False, True], ids=["way back", "challenger"])
def test_package_that_finds_no_room_is_fetched_by_itself_once_there_is(bench: Bench, *, is_shadow: bool) -> None:
    older, bad = bench.built("older"), bench.built("bad", scale=2.0)
    room = [10**9]
    bench.downloads = {"free_bytes": lambda _: room[0]}
    bench.start()
    bench.assign(1, {"ring": bad.package_id})
    bench.wait_active(bad)
    room[0] = 1000
    if is_shadow:
        challengers = {"ring": ChallengerAssignment(package_id=older.package_id)}
        bench.assign(2, {"ring": bad.package_id}, challengers=challengers)
    else:
        bench.assign(2, {"ring": older.package_id}, urgent=["ring"])
    row = bench.wait_state(older, PackageState.REFUSED)
    assert (row.reason, row.detail.endswith("; tried again until it is done")) == (RefusalReason.DISK, True)
    tried = bench.installer.counters.retries
    bench.wait(lambda: bench.installer.counters.retries > tried + 2)
    assert [loaded.package_id for loaded in bench.slots.snapshot()] == [bad.package_id]
    assert "it is tried again by itself" in _faults(bench)["package-disk"]
    assert list(_faults(bench)) == ["package-disk"]
    room[0] = 10**9
    bench.wait_state(older, PackageState.SHADOW if is_shadow else PackageState.ACTIVE)
    bench.wait(lambda: _faults(bench) == {})


def test_other_order_ends_the_wait_for_room(bench: Bench) -> None:
    older, bad = bench.built("older"), bench.built("bad", scale=2.0)
    room = [10**9]
    bench.downloads = {"free_bytes": lambda _: room[0]}
    bench.start()
    bench.assign(1, {"ring": bad.package_id})
    bench.wait_active(bad)
    room[0] = 1000
    bench.assign(2, {"ring": older.package_id})
    bench.wait_refused(RefusalReason.DISK)
    bench.assign(3, {"ring": bad.package_id})
    bench.wait_active(bad)
    bench.wait(lambda: _faults(bench) == {} and bench.installer._retry_at is None)
