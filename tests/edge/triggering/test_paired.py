# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.vocabulary import Disposition, SignalState, VerdictCause
from edge_agent.camera.source import Frame
from edge_agent.errors import DeviceError
from edge_agent.frame_queue import FrameQueue
from edge_agent.triggering.pairing import Pairing
from edge_agent.triggering.source import Trigger
from tests.edge.station_fakes import Bench, frame_of
from tests.edge.triggering.rigs import Paired
from tests.fakes.clock import FakeClock

MODES = ["free-run", "software", "hardware"]


def named(rig: Paired, frames: list[Frame]) -> list[tuple[str | None, float, bool]]:
    """(part, second of the capture, is missed)."""
    return [(frame.part_id, rig.second_of(frame), frame.is_missed) for frame in frames]


def test_free_running_camera_gives_the_first_frame_at_or_after_the_part_was_in_place() -> None:
    rig = Paired("free-run", delay_s=0.05, window_s=0.1)
    rig.frames_at(*(0.04 * number for number in range(1, 30)))
    rig.triggers.at(0.1, "a")
    rig.triggers.at(0.5, "b")
    assert named(rig, rig.run(1.2)) == [("a", 0.16, False), ("b", 0.56, False)]
    # The others are pictures of the belt: no parts, and no fault of a camera that runs free.
    assert rig.source.counts().frames_without_trigger > 10
    assert rig.codes() == set()


def test_frame_outside_the_window_is_not_the_parts() -> None:
    rig = Paired("free-run", window_s=0.1)
    rig.triggers.at(0.2, "a")
    rig.frames_at(0.19, 0.35)
    assert named(rig, rig.run(1.0)) == [("a", 0.2, True)]
    assert rig.source.counts().without_frame == 1


def test_trigger_fires_the_camera_after_the_delay_and_names_the_frame() -> None:
    rig = Paired("software", delay_s=0.05, transfer_s=0.03)
    rig.triggers.at(0.1, "a")
    rig.triggers.at(0.12, "b")
    found = rig.run(1.0)
    assert [(frame.part_id, frame.is_missed) for frame in found] == [("a", False), ("b", False)]
    assert rig.camera.fired == pytest.approx([0.15, 0.17], abs=0.006)
    assert [frame.trigger_number for frame in found] == [0, 1]


def test_hardware_triggered_frames_go_with_triggers_in_order_even_when_the_news_is_slower() -> None:
    rig = Paired("hardware", window_s=0.04)
    for number in range(10):
        rig.frames_at(0.1 + 0.1 * number)
        # The controller's word comes 25 ms after the picture, or 25 ms before it.
        rig.triggers.at(0.1 + 0.1 * number + (0.025 if number % 2 else -0.025), f"part-{number}")
    found = rig.run(2.0)
    assert named(rig, found) == [(f"part-{number}", round(0.1 + 0.1 * number, 2), False) for number in range(10)]
    assert rig.codes() == set()


def test_lost_frame_costs_its_own_part_and_shifts_no_name() -> None:
    rig = Paired("hardware", window_s=0.04, arrival_s=0.05)
    for number in range(5):
        rig.triggers.at(0.1 + 0.1 * number, f"part-{number}")
        if number != 2:
            rig.frames_at(0.11 + 0.1 * number)
    found = rig.run(2.0)
    assert [(frame.part_id, frame.is_missed) for frame in found] == [
        (f"part-{number}", number == 2) for number in range(5)
    ]
    assert [frame.trigger_number for frame in found] == list(range(5))


@pytest.mark.parametrize("mode", MODES)
def test_part_without_a_frame_comes_out_once_with_its_name_and_no_picture(mode: str) -> None:
    rig = Paired(mode, delay_s=0.05, window_s=0.1, arrival_s=0.1)
    if mode == "software":
        rig.camera.answers_fire = False
    rig.triggers.at(0.1, "a", product="ring")
    (frame,) = rig.run(2.0)
    assert (frame.part_id, frame.product, frame.pixels, frame.is_missed) == ("a", "ring", None, True)
    assert rig.second_of(frame) == pytest.approx(0.15, abs=0.011)
    assert (rig.line.clock.now() - frame.captured_at).total_seconds() == pytest.approx(1.85, abs=0.006)


def test_frames_that_go_on_without_triggers_are_a_fault_until_triggers_come_again() -> None:
    rig = Paired("hardware", window_s=0.02)
    rig.frames_at(*(0.1 * number for number in range(1, 8)))
    assert rig.run(1.0) == []
    assert (rig.codes(), rig.source.counts().frames_without_trigger) == ({"frames-untriggered"}, 7)
    rig.triggers.at(1.5, "a")
    rig.frames_at(1.505)
    assert len(rig.run(1.0)) == 1
    assert rig.codes() == set()


def test_window_that_reaches_over_two_parts_is_a_fault() -> None:
    rig = Paired("hardware", window_s=0.3)
    for number in range(3):
        rig.triggers.at(0.1 + 0.1 * number, f"part-{number}")
        rig.frames_at(0.1 + 0.1 * number)
    assert [frame.part_id for frame in rig.run(2.0)] == ["part-0", "part-1", "part-2"]
    assert rig.codes() == {"trigger-window"}


def test_bounce_is_no_part() -> None:
    rig = Paired("software", debounce_s=0.02)
    for second in (0.1, 0.11, 0.2):
        rig.triggers.at(second)
    assert len(rig.run(1.0)) == 2
    assert rig.source.counts().repeated == 1


def test_part_that_could_not_be_read_from_its_trigger_is_held_whatever_its_picture_shows() -> None:
    rig = Paired("software")
    rig.triggers.at(0.1, fault="the trigger cannot be read")
    (frame,) = rig.run(1.0)
    assert (frame.pixels, frame.fault, frame.is_missed) == (None, "the trigger cannot be read", False)


@pytest.mark.parametrize("mode", MODES)
def test_parts_that_pass_while_the_camera_is_away_are_reported_all_the_same(mode: str) -> None:
    rig = Paired(mode, window_s=0.05, arrival_s=0.05)
    rig.triggers.at(0.1, "a")
    rig.triggers.at(0.5, "b")
    rig.camera.is_away = True
    with pytest.raises(DeviceError):
        rig.run(0.4)
    rig.source.close()
    with pytest.raises(DeviceError):
        rig.source.open()
    unseen = [frame for _ in range(8) for frame in rig.source.read_away(0.2)]
    assert [(frame.part_id, frame.is_missed) for frame in unseen] == [("a", True), ("b", True)]
    rig.camera.is_away = False
    rig.source.open()
    rig.triggers.at(3.0, "c")
    rig.frames_at(3.01)
    found = rig.run(4.0)
    assert [frame.part_id for frame in found] == ["c"]
    assert [frame.trigger_number for frame in (*unseen, *found)] == [0, 1, 2]


def test_picture_taken_before_the_camera_was_set_anew_is_never_judged() -> None:
    rig = Paired("hardware", window_s=0.1, arrival_s=0.05)
    rig.frames_at(0.1, 0.105)
    rig.triggers.at(0.11, "a")
    first = rig.run(0.13)
    rig.source.forget_pictures("taken before")
    rig.triggers.at(0.15, "b")
    rest = rig.run(1.0)
    assert [(frame.part_id, frame.is_missed) for frame in (*first, *rest)] == [("a", False), ("b", True)]
    rig.source._ready.extend(first)
    rig.source.forget_pictures("taken before")
    (frame,) = rig.run(0.1)
    assert (frame.part_id, frame.pixels, frame.fault) == ("a", None, "taken before")


def test_more_triggers_than_may_wait_are_missed_at_once() -> None:
    rig = Paired("free-run", window_s=5.0, arrival_s=5.0, max_pending=3)
    for number in range(5):
        rig.triggers.at(0.1 + 0.01 * number, f"part-{number}")
    assert [(frame.part_id, frame.is_missed) for frame in rig.run(1.0)] == [("part-0", True), ("part-1", True)]


def test_missed_part_is_held_by_a_signal_and_reported_with_its_name() -> None:
    rig = Paired("software", window_s=0.05, arrival_s=0.05)
    rig.camera.answers_fire = False
    rig.triggers.at(0.1, "SN-1")
    (frame,) = rig.run(1.0)
    queue, bench = FrameQueue(1), Bench()
    bench.activate(0.1)
    queue.put(frame)
    queue.put(frame_of(1, rig.line.clock))
    queued = queue.get(0.0)
    assert queued is not None
    assert (queued.frame, queued.is_missed) == (frame, True)
    # It took no room from pictures, and none was given up for it.
    assert queue.missed == 0
    bench.loop.inspect(queued)
    (report,) = bench.outbox.reports
    assert (report.part_id, report.cause, report.disposition) == ("SN-1", VerdictCause.MISSED_FRAME, "HELD")
    assert report.signal is SignalState.SENT
    assert bench.output.signals[0].disposition is Disposition.HELD


def _frame(at_s: float) -> Frame:
    return frame_of(0, FakeClock(), captured_monotonic=at_s)


@settings(deadline=None, max_examples=200)
@given(
    triggers=st.lists(st.integers(0, 1000), max_size=20).map(sorted),
    frames=st.lists(st.integers(0, 1000), max_size=20).map(sorted),
    takes_first_after=st.booleans(),
    window=st.integers(1, 200),
)
def test_every_trigger_is_answered_once_in_order_and_no_frame_is_given_twice_or_out_of_its_window(
    triggers: list[int], frames: list[int], *, takes_first_after: bool, window: int
) -> None:
    pairing = Pairing(takes_first_after=takes_first_after, window_s=window, arrival_s=50, max_frames=4)
    clock, settled = FakeClock(), []
    for now in range(0, 2000, 7):
        for number, at in enumerate(triggers):
            if now - 7 < at <= now:
                pairing.announce(Trigger(number, clock.now(), at), at)
        for at in frames:
            if now - 7 < at <= now:
                pairing.show(_frame(at))
        settled += pairing.settle(now)
    assert [pair.trigger.number for pair in settled] == list(range(len(triggers)))
    given_frames = [pair.frame for pair in settled if pair.frame is not None]
    assert len({id(frame) for frame in given_frames}) == len(given_frames)
    for pair in settled:
        if pair.frame is not None:
            early = 0 if takes_first_after else window
            assert pair.due_s - early <= pair.frame.captured_monotonic <= pair.due_s + window
    assert pairing.missed + len(given_frames) == len(triggers)
    assert pairing.unpaired + len(given_frames) == len(frames)
