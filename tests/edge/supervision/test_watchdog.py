# SPDX-License-Identifier: Apache-2.0
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.camera.grabber import Grabber
from edge_agent.errors import DeviceError, SourceEnded
from edge_agent.frame_queue import FrameQueue
from edge_agent.monitor.health import HealthMonitor
from edge_agent.monitor.liveness import GRAB, JUDGE, Liveness
from edge_agent.supervision.notify import Notifier
from edge_agent.supervision.settings import SupervisorSettings, read_supervisor
from edge_agent.supervision.watchdog import Watchdog
from tests.edge.station_fakes import Bench
from tests.fakes.clock import FakeClock
from tests.fakes.waiting import wait_until


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """An address, and what has arrived there since it was last asked."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(0)

        def take() -> list[str]:
            lines: list[str] = []
            while True:
                try:
                    lines += listener.recv(65536).decode().split("\n")
                except BlockingIOError:
                    return lines

        yield address, take


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, SupervisorSettings()),
        ({"NOTIFY_SOCKET": "/run/n"}, SupervisorSettings("/run/n")),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "3000000"}, SupervisorSettings("@n", 3.0)),
        (
            {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "5", "WATCHDOG_PID": str(os.getpid())},
            SupervisorSettings("/n", 5e-6),
        ),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}, SupervisorSettings("/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, SupervisorSettings("/n")),
        ({"NOTIFY_SOCKET": "n", "WATCHDOG_USEC": "5"}, SupervisorSettings()),
    ],
)
def test_supervisor_is_read_as_its_manual_says(environ: dict[str, str], wanted: SupervisorSettings) -> None:
    assert read_supervisor(environ) == wanted


def test_message_is_one_datagram_and_a_line_break_makes_no_second_assignment(
    heard: tuple[str, Callable[[], list[str]]],
) -> None:
    address, take = heard
    assert Notifier(address).tell("READY=1", "STATUS=a\nWATCHDOG=1")
    assert take() == ["READY=1", "STATUS=a WATCHDOG=1"]
    silent = Notifier(address + "-gone")
    assert not silent.tell("READY=1")
    assert silent.failed == 1
    assert not Notifier("").tell("READY=1")


def test_abstract_address_is_reached() -> None:
    name = f"sightline-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(10)
        assert Notifier("@" + name).tell("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_watchdog_is_silent_while_a_thread_is_overdue_and_speaks_again_after(
    heard: tuple[str, Callable[[], list[str]]],
) -> None:
    address, take = heard
    bench = Bench()
    bench.activate()
    watchdog = Watchdog(SupervisorSettings(address, 30), lambda: [bench.health])
    bench.health.liveness.beat(JUDGE, 15)
    bench.health.liveness.beat(GRAB, 60)
    watchdog.beat()
    assert "WATCHDOG=1" in take()
    bench.clock.advance(16)
    watchdog.beat()
    assert take() == ["STATUS=stalled: judge"]
    bench.health.liveness.beat(JUDGE, 15)
    watchdog.beat()
    assert "WATCHDOG=1" in take()
    bench.clock.advance(50)
    bench.health.liveness.beat(JUDGE, 15)
    watchdog.beat()
    assert take() == ["STATUS=stalled: grab"]
    assert watchdog.withheld == 2


def test_judge_that_waits_for_a_full_disk_is_left_alive_with_what_it_holds(
    heard: tuple[str, Callable[[], list[str]]],
) -> None:
    address, take = heard
    bench = Bench()
    watchdog = Watchdog(SupervisorSettings(address, 30), lambda: [bench.health])
    bench.health.liveness.beat(JUDGE, 15)
    bench.clock.advance(100)
    bench.health.set_fault("outbox-blocked", "the disk is full")
    watchdog.beat()
    lines = take()
    assert "WATCHDOG=1" in lines
    assert any("outbox-blocked" in line for line in lines)


def test_one_station_of_a_process_that_hangs_is_not_covered_by_the_others(
    heard: tuple[str, Callable[[], list[str]]],
) -> None:
    address, take = heard
    well, hung = Bench(), Bench()
    watchdog = Watchdog(SupervisorSettings(address, 30), lambda: [well.health, hung.health])
    for bench in (well, hung):
        bench.health.liveness.beat(JUDGE, 15)
    watchdog.beat()
    assert "WATCHDOG=1" in take()
    hung.clock.advance(16)
    watchdog.beat()
    assert take() == ["STATUS=stalled: st-1: judge"]


def test_thread_that_ended_on_purpose_is_not_waited_for() -> None:
    clock = FakeClock()
    liveness = Liveness(clock)
    liveness.beat(GRAB, 1)
    liveness.ended(GRAB)
    clock.advance(100)
    assert liveness.overdue() == []


class _Source:
    """Opens, fails, hangs or ends as a test says."""

    def __init__(self, *answers: Exception | threading.Event) -> None:
        self.answers = list(answers)
        self.opened = 0

    def open(self) -> None:
        self.opened += 1

    def read(self, timeout_s: float) -> None:
        del timeout_s
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        answer.wait(60)

    def close(self) -> None:
        pass


def _grabber(source: _Source, health: HealthMonitor) -> Grabber:
    return Grabber(source, FrameQueue(2), health, retry_max_s=0.01)


def test_driver_that_never_returns_makes_the_grab_thread_overdue() -> None:
    bench, gate = Bench(), threading.Event()
    source = _Source(DeviceError("gone"), gate, SourceEnded("end"))
    grabber = _grabber(source, bench.health)
    grabber.start()
    wait_until(lambda: len(source.answers) == 1)
    assert bench.health.liveness.overdue() == []
    bench.clock.advance(120)
    assert bench.health.liveness.overdue() == [GRAB]
    gate.set()
    wait_until(lambda: not source.answers)
    # A folder that was played to its end is no hang.
    wait_until(lambda: bench.health.liveness.overdue() == [])
    grabber.stop()
    bench.clock.advance(1000)
    assert bench.health.liveness.overdue() == []


def test_camera_that_gives_frames_for_hours_is_heard_all_the_time() -> None:
    bench, first, second = Bench(), threading.Event(), threading.Event()
    source = _Source(first, second, SourceEnded("end"))
    grabber = _grabber(source, bench.health)
    grabber.start()
    wait_until(lambda: len(source.answers) == 2)
    bench.clock.advance(50)
    first.set()
    wait_until(lambda: len(source.answers) == 1)
    bench.clock.advance(50)
    # Opened 100 s ago, heard 50 s ago.
    assert bench.health.liveness.overdue() == []
    second.set()
    wait_until(lambda: not source.answers)
    grabber.stop()


def test_loop_is_heard_while_it_waits_and_not_waited_for_after_its_stop() -> None:
    bench = Bench()
    bench.loop.start()
    for _ in range(3):
        bench.clock.advance(14)
        wait_until(lambda: bench.health.liveness._due_s.get(JUDGE, 0) >= bench.clock.monotonic() + 14)
    assert bench.loop.stop()
    bench.clock.advance(1000)
    assert bench.health.liveness.overdue() == []
