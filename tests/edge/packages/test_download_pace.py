# SPDX-License-Identifier: Apache-2.0
"""Downloads keep to their rate, to the time that they may take and to the windows of the plant."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import TransportError
from edge_agent.packages.fetch import Interrupted, WindowClosed
from edge_agent.packages.rate import RateLimit
from edge_agent.packages.windows import MaintenanceWindows, parse_window
from tests.edge.packages.fetching import Rig
from tests.fakes.package_server import PackageServer


@pytest.fixture
def rig(tmp_path: Path, server: PackageServer) -> Rig:
    return Rig(tmp_path, server)


class Slept:
    """Counts the pauses, and lets a clock pass with them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.lock = threading.Lock()

    def __call__(self, seconds: float) -> None:
        with self.lock:
            self.seconds += seconds

    def now(self) -> datetime:
        return datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def test_download_takes_as_long_as_its_rate_says(rig: Rig) -> None:
    package = rig.build("first")
    slept = Slept()
    rig.fetch(package, clock=slept, rate=RateLimit(50_000, slept), sleep=slept)
    assert slept.seconds == pytest.approx(rig.transfer.received_bytes / 50_000, rel=0.05)
    assert rig.is_right(package)


def test_rate_is_shared_by_all_who_take_from_it() -> None:
    slept = Slept()
    rate = RateLimit(1000, slept)
    assert rate.take(500) == pytest.approx(0.5)
    assert rate.take(500) == pytest.approx(1.0)
    slept(10)
    # Nine seconds of silence are not saved up.
    assert rate.take(500) == pytest.approx(0.5)
    assert RateLimit(0, slept).take(10**9) == 0


def test_download_that_waits_for_its_rate_can_be_called_off(rig: Rig) -> None:
    package = rig.build("first")
    slept = Slept()
    with pytest.raises(Interrupted):
        rig.fetch(
            package,
            clock=slept,
            rate=RateLimit(5000, slept),
            sleep=slept,
            is_called_off=lambda: slept.seconds > 3,
        )
    assert slept.seconds < 4


def test_byte_now_and_then_is_given_up_and_what_has_come_stays(rig: Rig) -> None:
    package = rig.build("first", has_chunks=False)
    rig.server.ranges.trickle_s[rig.graph(package)] = 0.001

    class Hasty(SystemClock):
        """Each look takes ten seconds."""

        looks = 0

        def monotonic(self) -> float:
            self.looks += 1
            return self.looks * 10.0

    with pytest.raises(TransportError, match="too slow"):
        rig.fetch(package, clock=Hasty(), max_file_s=300)
    del rig.server.ranges.trickle_s[rig.graph(package)]
    rig.fetch(package)
    assert rig.asked(package)[1].startswith("bytes=")
    assert rig.is_right(package)


NIGHT = MaintenanceWindows(ZoneInfo("Europe/Berlin"), (parse_window("22:00-05:00"),))


class Wall(SystemClock):
    """The wall clock says what the test says."""

    def __init__(self, text: str) -> None:
        self.at = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"))

    def now(self) -> datetime:
        return self.at.astimezone(UTC)


def test_outside_of_its_window_nothing_is_asked_of_central(rig: Rig) -> None:
    package = rig.build("first")
    with pytest.raises(WindowClosed, match=r"next opens at Mon 2026-03-02 22:00 \(Europe/Berlin\)") as closed:
        rig.fetch(package, clock=Wall("2026-03-02T14:00"), windows=NIGHT)
    assert closed.value.opens_at == datetime(2026, 3, 2, 21, 0, tzinfo=UTC)
    assert rig.server.requests == []
    rig.fetch(package, clock=Wall("2026-03-02T23:00"), windows=NIGHT)


def test_urgent_package_passes_the_window(rig: Rig) -> None:
    package = rig.build("first")
    rig.fetch(package, clock=Wall("2026-03-02T14:00"), windows=NIGHT, is_urgent=True)
    assert rig.is_right(package)


def test_window_that_closes_in_the_middle_keeps_what_has_come(rig: Rig) -> None:
    package = rig.build("first", has_chunks=False)
    clock = Wall("2026-03-03T04:59")

    def slept(_seconds: float) -> None:
        clock.at = clock.at.replace(hour=5, minute=0)

    with pytest.raises(WindowClosed):
        rig.fetch(package, clock=clock, windows=NIGHT, rate=RateLimit(100_000, clock), sleep=slept)
    parts = [path for path in rig.into.glob("*.part") if path.stat().st_size]
    assert parts
    rig.fetch(package, clock=Wall("2026-03-03T22:00"), windows=NIGHT)
    assert rig.is_right(package)
