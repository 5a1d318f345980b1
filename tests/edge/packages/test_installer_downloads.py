# SPDX-License-Identifier: Apache-2.0
"""What the station says of its downloads, and when it gives one up, goes on with it or waits."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from contracts.reports import PackageProgress
from contracts.vocabulary import PackageState, RefusalReason, Variant
from edge_agent.clock import SystemClock
from edge_agent.packages.rate import Backoff
from edge_agent.packages.windows import MaintenanceWindows, parse_window
from tests.edge.packages.conftest import Bench
from tests.edge.packages.steps import two_packages
from tests.fakes.packages import BuiltPackage, weighted_graph

BERLIN = ZoneInfo("Europe/Berlin")
RNG = np.random.default_rng(5)
TRUNK = RNG.normal(size=(100, 500)).astype(np.float32)


class Wall(SystemClock):
    """The wall clock says what the test says."""

    def __init__(self, text: str) -> None:
        self.at = datetime.fromisoformat(text).replace(tzinfo=BERLIN)

    def now(self) -> datetime:
        return self.at.astimezone(UTC)


def weighted(bench: Bench, name: str, product: str = "ring", **more: Any) -> BuiltPackage:
    tensors = {"trunk": TRUNK, "bank": RNG.normal(size=(100, 500)).astype(np.float32)}
    graphs = {variant: weighted_graph(tensors, name=variant) for variant in (Variant.INT8_U8S8, Variant.FP32)}
    return bench.built(name, product, graphs=graphs, **more)


def row(bench: Bench, product: str = "ring") -> PackageProgress:
    found = bench.progress(product)
    assert found is not None
    return found


def at_night(bench: Bench, now: str) -> Wall:
    bench.clock = wall = Wall(now)
    bench.downloads = {"windows": MaintenanceWindows(BERLIN, (parse_window("22:00-05:00"),))}
    return wall


def test_station_outside_its_window_says_what_it_waits_for_and_judges_on(bench: Bench) -> None:
    wall = at_night(bench, "2026-03-02T23:00")
    first = bench.built("first")
    bench.start()
    bench.assign(1, {"ring": first.package_id}, now=wall.now())
    bench.wait_active(first)
    wall.at = wall.at.replace(day=3, hour=14)
    second = bench.built("second", scale=2.0)
    bench.assign(2, {"ring": second.package_id}, now=wall.now())
    bench.wait(lambda: row(bench).waits_until is not None)
    told = row(bench)
    assert (told.package_id, told.state, told.reason) == (second.package_id, PackageState.DOWNLOADING, None)
    assert told.detail == "waiting for the window, next opens at Tue 2026-03-03 22:00 (Europe/Berlin)"
    assert told.waits_until == datetime(2026, 3, 3, 21, 0, tzinfo=UTC)
    loaded = bench.slots.active("ring")
    assert loaded is not None
    assert loaded.package_id == first.package_id
    assert bench.installer.faults() == []


def test_station_downloads_by_itself_when_its_window_opens(bench: Bench) -> None:
    wall = at_night(bench, "2026-03-02T21:59:59.500")
    first = bench.built("first")
    bench.start()
    bench.assign(1, {"ring": first.package_id}, now=wall.now())
    bench.wait(lambda: bool(bench.statuses) and bench.progress() is not None and row(bench).waits_until is not None)
    wall.at += timedelta(seconds=1)
    bench.wait_active(first)
    assert row(bench).waits_until is None


def test_waiting_is_said_once_and_not_with_every_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.packages.installer._LOOK_AGAIN_S", 0.01)
    wall = at_night(bench, "2026-03-02T14:00")
    first = bench.built("first")
    bench.start()
    bench.assign(1, {"ring": first.package_id}, now=wall.now())
    bench.wait(lambda: bench.installer.counters.retries > 20)
    waiting = [status for status in bench.statuses for each in status.packages if each.waits_until is not None]
    assert len(waiting) == 1


def test_urgent_assignment_passes_the_window_of_its_product_alone(bench: Bench) -> None:
    wall = at_night(bench, "2026-03-02T14:00")
    ring, board = bench.built("ring"), bench.built("board", "board")
    bench.start()
    bench.assign(1, {"ring": ring.package_id, "board": board.package_id}, now=wall.now(), urgent=("ring",))
    bench.wait_active(ring)
    bench.wait(lambda: bench.progress("board") is not None and row(bench, "board").waits_until is not None)


def test_going_back_to_a_package_on_disk_waits_for_no_window(bench: Bench) -> None:
    wall = at_night(bench, "2026-03-02T23:00")
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    for number, package in enumerate((first, second), start=1):
        bench.assign(number, {"ring": package.package_id}, now=wall.now())
        bench.wait_active(package)
    wall.at = wall.at.replace(day=3, hour=14)
    bench.assign(3, {"ring": first.package_id}, now=wall.now())
    bench.wait_active(first)


def test_progress_is_told_in_bytes(bench: Bench) -> None:
    package = weighted(bench, "first")
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait_active(package)
    told = [each for status in bench.statuses for each in status.packages if each.bytes_total is not None]
    size = sum(path.stat().st_size for path in package.folder.iterdir() if path.suffix != ".json")
    assert {each.bytes_total for each in told} == {size}
    assert all((each.bytes_done or 0) <= size for each in told)
    assert told[0].detail == f"0.0 of {size / 1e6:.1f} MB"


def test_download_of_a_withdrawn_package_ends_and_leaves_nothing(bench: Bench) -> None:
    first, _second = two_packages(bench)
    slow = weighted(bench, "slow")
    path = f"targets/{slow.package_id}/int8-u8s8.onnx"
    bench.server.ranges.trickle_s[path] = 0.001
    bench.assign(2, {"ring": slow.package_id})
    partial = bench.disk / "packages" / ".partial" / slow.package_id
    bench.wait(lambda: any(each.stat().st_size for each in partial.glob("int8*.part")))
    bench.assign(3, {"ring": first})
    bench.wait(lambda: bench.status().assignment_number == 3 and row(bench).package_id == first)
    bench.wait(lambda: not partial.exists())
    loaded = bench.slots.active("ring")
    assert loaded is not None
    assert loaded.package_id == first


def test_download_goes_on_under_a_newer_assignment_of_the_same_package(bench: Bench) -> None:
    package = weighted(bench, "first", has_chunks=False)
    path = f"targets/{package.package_id}/int8-u8s8.onnx"
    bench.server.ranges.trickle_s[path] = 0.0001
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    partial = bench.disk / "packages" / ".partial" / package.package_id
    bench.wait(lambda: any(each.stat().st_size > 1000 for each in partial.glob("int8*.part")))
    bench.assign(2, {"ring": package.package_id})
    bench.wait(lambda: len([told for asked, told in bench.server.ranges.asked if asked == path]) == 2)
    bench.server.ranges.trickle_s.clear()
    bench.wait_active(package)
    begin = [told for asked, told in bench.server.ranges.asked if asked == path][1]
    assert int(begin.removeprefix("bytes=").split("-")[0]) >= 1000


def test_download_goes_on_after_a_restart_of_the_station(bench: Bench) -> None:
    package = weighted(bench, "first", has_chunks=False)
    path = f"targets/{package.package_id}/int8-u8s8.onnx"
    bench.server.ranges.cut_after[path] = 150_000

    def cut(asked: str) -> None:
        bench.server.is_reachable = asked != path or path not in bench.server.ranges.sent

    bench.server.on_request = cut
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    bench.wait(lambda: bench.progress() is not None and row(bench).reason is RefusalReason.UNREACHABLE)
    bench.stop()
    here = (bench.disk / "packages" / ".partial" / package.package_id / "int8-u8s8.onnx.part").stat().st_size
    assert here > 0
    bench.server.on_request = lambda _: None
    bench.server.is_reachable = True
    bench.start()
    bench.wait_active(package)
    size = (package.folder / "int8-u8s8.onnx").stat().st_size
    assert (path, f"bytes={here}-{size - 1}") in bench.server.ranges.asked
    assert not (bench.disk / "packages" / ".partial" / package.package_id).exists()


def test_retrained_package_costs_what_is_new_in_it(bench: Bench) -> None:
    old, new = weighted(bench, "old"), weighted(bench, "new")
    bench.start()
    for number, package in enumerate((old, new), start=1):
        bench.assign(number, {"ring": package.package_id})
        bench.wait_active(package)
    sent = sum(
        count for path, count in bench.server.ranges.sent.items() if f"{new.package_id}/" in path and "onnx" in path
    )
    # One bank of 200,000 bytes: the second variant has it from the first.
    assert 200_000 <= sent < 206_000


def test_full_disk_is_told_with_what_to_do(bench: Bench) -> None:
    package = bench.built("first")
    bench.downloads = {"free_bytes": lambda _: 1000}
    bench.start()
    bench.assign(1, {"ring": package.package_id})
    assert "room on the station's disk" in bench.wait_refused(RefusalReason.DISK).detail
    (fault,) = bench.installer.faults()
    assert "make room" in fault.remedy


def test_pauses_grow_and_differ_between_stations() -> None:
    one, other = (Backoff(1.0, 60.0, random.Random(name)) for name in ("demo/line-1/st-1", "demo/line-1/st-2"))
    pauses = [(one.next_s(), other.next_s()) for _ in range(10)]
    for index, pair in enumerate(pauses):
        middle = min(2.0**index, 60.0)
        assert all(0.5 * middle <= pause_s <= 1.5 * middle for pause_s in pair)
    assert all(mine != theirs for mine, theirs in pauses)
    assert 0 <= one.soon_s() <= 2.0
    assert one.next_s() <= 1.5
