# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Callable

from contracts.vocabulary import StationState
from edge_agent.camera.grabber import Grabber
from edge_agent.camera.source import Frame
from edge_agent.errors import DeviceError, SourceEnded
from edge_agent.frame_queue import FrameQueue
from edge_agent.monitor.health import Gauges, HealthMonitor
from tests.edge.station_fakes import STATION, frame_of
from tests.fakes.clock import FakeClock


class ScriptedSource:
    """Plays a script: frames are given, errors raised, None is silence; "refuse" fails the next opening."""

    def __init__(self, script: list[Frame | Exception | str]) -> None:
        self.script = script
        self.opened = 0
        self.closed = 0
        self.is_over = threading.Event()

    def open(self) -> None:
        self.opened += 1
        if self.script and self.script[0] == "refuse":
            self.script.pop(0)
            raise DeviceError("no camera", remedy="plug it in")

    def read(self, timeout_s: float) -> Frame | None:
        if not self.script:
            self.is_over.set()
            time.sleep(min(timeout_s, 0.01))
            return None
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, Frame)
        return step

    def close(self) -> None:
        self.closed += 1


class Rig:
    def __init__(self, script: list[Frame | Exception | str]) -> None:
        clock = FakeClock()
        self.source = ScriptedSource(script)
        self.queue = FrameQueue(10)
        self.health = HealthMonitor(STATION, epoch=1, version="0", clock=clock, gauges=lambda: Gauges(active=[]))
        self.health.started()
        self.grabber = Grabber(self.source, self.queue, self.health, retry_max_s=0.02)

    def until(self, condition: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < give_up_at
            time.sleep(0.005)


def _frame(number: int) -> Frame:
    return frame_of(number, FakeClock())


def test_source_that_fails_in_every_way_is_opened_again_until_frames_come() -> None:
    rig = Rig(["refuse", "refuse", _frame(1), DeviceError("gone"), _frame(2), RuntimeError("driver"), _frame(3)])
    rig.grabber.start()
    rig.until(rig.source.is_over.is_set)
    rig.grabber.stop()
    taken = [rig.queue.get(0.0) for _ in range(3)]
    assert [item.frame.trigger_number for item in taken if item] == [1, 2, 3]
    assert rig.grabber.losses == 4
    assert rig.source.opened == rig.source.closed == 5
    assert "source-gone" not in {fault.code for fault in rig.health.status().faults}


def test_camera_away_is_a_station_fault_with_a_remedy_while_it_lasts() -> None:
    rig = Rig(["refuse"] * 10_000)
    rig.grabber.start()
    rig.until(lambda: rig.grabber.losses >= 2)
    status = rig.health.status()
    rig.grabber.stop()
    assert status.state is StationState.FAULT
    assert [fault.remedy for fault in status.faults if fault.code == "source-gone"] == ["plug it in"]


def test_finite_source_that_ended_halts_the_station_and_is_not_opened_again() -> None:
    rig = Rig([_frame(1), SourceEnded("all played")])
    rig.grabber.start()
    rig.until(lambda: rig.health.status().state is StationState.HALTED)
    rig.grabber.stop()
    assert rig.source.opened == 1
