# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from securesystemslib.signer import CryptoSigner

from contracts.vocabulary import StationState
from edge_agent.camera.grabber import Grabber
from edge_agent.camera.source import Frame
from edge_agent.errors import DeviceError, SourceEnded
from edge_agent.frame_queue import FrameQueue
from edge_agent.monitor.health import Gauges, HealthMonitor
from edge_agent.recipes.book import RecipeBook
from edge_agent.recipes.recipe import Recipe, Recipes
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


class HearingSource(ScriptedSource):
    """Hears of a part in every pause."""

    def read_away(self, timeout_s: float) -> list[Frame]:
        time.sleep(timeout_s)
        return [frame_of(self.opened, FakeClock(), pixels=None, is_missed=True)]


def test_parts_announced_while_the_camera_is_away_reach_the_judge_as_missed() -> None:
    rig = Rig(["refuse"] * 10_000)
    source = HearingSource(["refuse"] * 10_000)
    grabber = Grabber(source, rig.queue, rig.health, retry_max_s=0.02)
    grabber.start()
    rig.until(lambda: len(rig.queue) >= 2)
    grabber.stop()
    taken = [rig.queue.get(0.0) for _ in range(2)]
    assert [(item.frame.trigger_number, item.is_missed) for item in taken if item] == [(1, True), (2, True)]


class AdjustableSource(ScriptedSource):
    """Notes what it was set to, and how many frames it had given by then."""

    def __init__(self, script: list[Frame | Exception | str]) -> None:
        super().__init__(script)
        self.length = len(script)
        self.set_to: list[tuple[int, float | None]] = []

    def adjust(self, *, exposure_us: float | None, gain_db: float | None) -> None:
        del gain_db
        self.set_to.append((self.length - len(self.script), exposure_us))


def _book(folder: Path, clock: FakeClock) -> RecipeBook:
    recipes = {"ring": Recipe(exposure_us=800), "cap": Recipe(exposure_us=300)}
    own = Recipes(MappingProxyType(recipes))
    return RecipeBook(folder, STATION, clock, key=CryptoSigner.generate_ed25519().public_key, own=own, product="ring")


def test_camera_is_set_up_before_a_frame_is_bound_to_the_new_recipe(tmp_path: Path) -> None:
    clock = FakeClock()
    book = _book(tmp_path, clock)
    source = AdjustableSource([frame_of(number, clock, product=None) for number in range(4)])
    read = source.read

    def read_and_switch(timeout_s: float) -> Frame | None:
        if len(source.script) == 2:
            clock.advance(1)
            book.switch("cap")
        frame = read(timeout_s)
        # The third is captured after the switch, but before the camera was set up for it: no recipe fits it.
        return None if frame is None else replace(frame, captured_monotonic=1000.0 + (frame.trigger_number > 1))

    source.read = read_and_switch  # type: ignore[method-assign]
    queue = FrameQueue(10)
    health = HealthMonitor(STATION, epoch=1, version="0", clock=clock, gauges=lambda: Gauges(active=[]))
    grabber = Grabber(source, queue, health, book=book)
    grabber.start()
    assert source.is_over.wait(20)
    grabber.stop()
    frames = [queued.frame for _ in range(4) if (queued := queue.get(0)) is not None]
    assert [(frame.trigger_number, frame.product) for frame in frames] == [
        (0, "ring"),
        (1, "ring"),
        (2, "cap"),
        (3, "cap"),
    ]
    assert [frame.recipe is not None and bool(frame.recipe.refusal) for frame in frames] == [False, False, True, False]
    # The third frame was being read while the switch came; the camera was set up before the fourth.
    assert source.set_to == [(0, 800), (3, 300)]


def test_source_that_cannot_be_set_says_so(tmp_path: Path) -> None:
    clock = FakeClock()
    source = ScriptedSource([frame_of(1, clock)])
    queue = FrameQueue(10)
    health = HealthMonitor(STATION, epoch=1, version="0", clock=clock, gauges=lambda: Gauges(active=[]))
    grabber = Grabber(source, queue, health, book=_book(tmp_path, clock))
    grabber.start()
    assert source.is_over.wait(20)
    grabber.stop()
    assert "exposure-not-set" in {fault.code for fault in health.status().faults}
