# SPDX-License-Identifier: Apache-2.0
"""A camera and a trigger source as one frame source: each trigger a part, each part a frame with its name.

Sits between camera and frame queue, so that the grab thread stays the camera's only caller. A trigger without a
frame is a part that passed unseen: it comes out as a frame without pixels, to be held and reported. A frame without
a trigger is no part and does not come out. Built by `triggering.making`.
"""

import logging
from collections import deque
from dataclasses import replace
from datetime import timedelta
from typing import Final

from contracts.reports import StationFault, TriggerCounts
from edge_agent.camera.source import Adjustable, Frame, FrameSource, SoftwareTriggered
from edge_agent.clock import Clock
from edge_agent.log_pace import is_worth_a_line
from edge_agent.triggering.pairing import Pair, Pairing
from edge_agent.triggering.source import Trigger, TriggerSource

_log = logging.getLogger(__name__)

# While a frame is on its way, triggers are looked after this often.
_SLICE_S: Final = 0.005
_IDLE_SLICE_S: Final = 0.02
_FRESH_S: Final = 60.0
# This many frames in a row that nobody asked for are no accident.
_UNPAIRED_IN_A_ROW: Final = 5


class TriggeredSource:
    """See the module.

    Args:
        camera: gives the frames.
        triggers: tells of the parts.
        pairing: which belongs to which.
        clock: the station's clock.
        firing: the camera, if a trigger has to fire it.
        delay_s: from the trigger to the picture.
        is_simulated: parts without a frame are not real ones.
    """

    def __init__(
        self,
        camera: FrameSource,
        triggers: TriggerSource,
        pairing: Pairing,
        clock: Clock,
        *,
        firing: SoftwareTriggered | None = None,
        is_free_running: bool = False,
        delay_s: float = 0.0,
        is_simulated: bool = False,
    ) -> None:
        self._camera = camera
        self._triggers = triggers
        self._pairing = pairing
        self._clock = clock
        self._firing = firing
        self._is_free_running = is_free_running
        self._delay_s = delay_s
        self._is_simulated = is_simulated
        self._to_fire: deque[Trigger] = deque()
        self._ready: deque[Frame] = deque()
        self._crowded_s: float | None = None
        self._dropped_s: float | None = None
        self._dropped_known = self._crowded_known = 0

    def open(self) -> None:
        """Open both; triggers are heard even if the camera is away.

        Raises:
            DeviceError: as the camera's `open`.
        """
        self._triggers.open()
        self._camera.open()

    def read(self, timeout_s: float) -> Frame | None:
        """The next part, seen or not.

        Raises:
            EdgeError: as the camera's `read`; parts that have been announced come out of `read_away`, or later.
        """
        give_up_at_s = self._clock.monotonic() + timeout_s
        while True:
            self._hear()
            self._fire_due()
            self._settle()
            if self._ready:
                return self._ready.popleft()
            left_s = give_up_at_s - self._clock.monotonic()
            if left_s <= 0:
                return None
            self._look(left_s)

    def read_away(self, timeout_s: float) -> list[Frame]:
        """Parts that pass while the camera is away."""
        give_up_at_s = self._clock.monotonic() + timeout_s
        while True:
            self._hear()
            while self._to_fire:
                trigger = self._to_fire.popleft()
                self._pairing.announce(trigger, trigger.at_s + self._delay_s)
            self._settle()
            left_s = give_up_at_s - self._clock.monotonic()
            if left_s <= 0:
                break
            trigger_or_none = self._triggers.read(min(left_s, _IDLE_SLICE_S))
            if trigger_or_none is not None:
                self._take(trigger_or_none)
        unseen = list(self._ready)
        self._ready.clear()
        return unseen

    def close(self) -> None:
        """Let go of the camera; triggers are heard on, because parts go on."""
        self._camera.close()

    def end(self) -> None:
        """Stop hearing triggers, for good."""
        self._triggers.close()

    def counts(self) -> TriggerCounts:
        """What became of triggers and frames."""
        buffer = self._triggers.buffer
        return TriggerCounts(
            received=buffer.received,
            repeated=buffer.repeated,
            dropped=buffer.dropped,
            without_frame=self._pairing.missed,
            frames_without_trigger=self._pairing.unpaired,
        )

    @property
    def is_deaf(self) -> bool:
        """No trigger can come now."""
        return bool(self._triggers.faults())

    def faults(self) -> list[StationFault]:
        """The trigger's link, and what goes wrong between triggers and frames."""
        now_s, now = self._clock.monotonic(), self._clock.now()
        found = list(self._triggers.faults())
        dropped = self._triggers.buffer.dropped
        if dropped > self._dropped_known:
            self._dropped_known, self._dropped_s = dropped, now_s
        passing = [
            (
                self._dropped_s,
                "triggers-dropped",
                f"{dropped} triggers came faster than they were taken",
                "check the trigger for bounces (trigger.debounce_ms), and the load",
            ),
            (
                self._crowded_s,
                "trigger-window",
                f"{self._pairing.crowded} parts came within trigger.window_ms of another: names may shift",
                "make trigger.window_ms shorter than the time between two parts",
            ),
        ]
        if not self._is_free_running and self._pairing.unpaired_in_a_row >= _UNPAIRED_IN_A_ROW:
            message = f"the last {self._pairing.unpaired_in_a_row} frames came without a trigger: nobody judges them"
            remedy = "check the trigger's wiring, trigger.delay_ms and trigger.window_ms"
            passing.append((now_s, "frames-untriggered", message, remedy))
        for last_s, code, message, remedy in passing:
            if last_s is not None and now_s - last_s <= _FRESH_S:
                since = now - timedelta(seconds=now_s - last_s)
                found.append(StationFault(code=code, message=message, remedy=remedy, since=since))
        return found

    def forget_pictures(self, why: str) -> None:
        """What was captured until now must not be judged. Parts that have their frame already keep their name."""
        self._pairing.forget_frames()
        self._ready = deque(replace(frame, pixels=None, fault=frame.fault or why) for frame in self._ready)

    def _hear(self) -> None:
        while (trigger := self._triggers.read(0.0)) is not None:
            self._take(trigger)

    def _take(self, trigger: Trigger) -> None:
        if self._firing is None:
            self._pairing.announce(trigger, trigger.at_s + self._delay_s)
        else:
            self._to_fire.append(trigger)

    def _fire_due(self) -> None:
        while self._firing is not None and self._to_fire and self._fire_in_s() <= 0:
            # Announced before: should the camera fail now, the part is missed, not forgotten.
            self._pairing.announce(self._to_fire.popleft(), self._clock.monotonic())
            self._firing.fire()

    def _fire_in_s(self) -> float:
        return self._to_fire[0].at_s + self._delay_s - self._clock.monotonic()

    def _look(self, left_s: float) -> None:
        """Wait for what comes next: a trigger, the moment to fire, or a frame."""
        if self._firing is None or self._pairing.is_waiting:
            slice_s = min(left_s, _SLICE_S if self._firing is not None else _IDLE_SLICE_S)
            frame = self._camera.read(min(slice_s, max(0.0, self._fire_in_s())) if self._to_fire else slice_s)
            if frame is not None:
                # News of the part that came while the frame was read belong before it.
                self._hear()
                self._is_simulated = self._is_simulated or frame.is_simulated
                self._pairing.show(frame)
        else:
            trigger = self._triggers.read(min(left_s, self._fire_in_s()) if self._to_fire else left_s)
            if trigger is not None:
                self._take(trigger)

    def _settle(self) -> None:
        missed = self._pairing.missed
        self._ready.extend(self._named(pair) for pair in self._pairing.settle(self._clock.monotonic()))
        if self._pairing.crowded > self._crowded_known:
            self._crowded_known, self._crowded_s = self._pairing.crowded, self._clock.monotonic()
        if self._pairing.missed > missed and is_worth_a_line(self._pairing.missed):
            _log.warning("trigger without a frame missed=%d", self._pairing.missed)

    def _named(self, pair: Pair) -> Frame:
        trigger, frame = pair.trigger, pair.frame
        if frame is None:
            return Frame(
                pixels=None,
                captured_at=trigger.at + timedelta(seconds=pair.due_s - trigger.at_s),
                captured_monotonic=pair.due_s,
                trigger_number=trigger.number,
                part_id=trigger.part_id,
                product=trigger.product,
                is_simulated=self._is_simulated,
                fault="no picture came for its trigger",
                is_missed=True,
            )
        named = replace(
            frame,
            trigger_number=trigger.number,
            part_id=trigger.part_id or frame.part_id,
            product=trigger.product or frame.product,
        )
        # What was said of the part could not be read: judged by another recipe it might pass.
        return replace(named, pixels=None, fault=trigger.fault) if trigger.fault else named


class AdjustableTriggeredSource(TriggeredSource):
    """One whose camera takes exposure and gain: `Adjustable` as its camera is."""

    def adjust(self, *, exposure_us: float | None, gain_db: float | None) -> None:
        """Set what is given; frames that wait here were taken otherwise, and no part is judged by them.

        Raises:
            DeviceError: as the camera's `adjust`.
        """
        if isinstance(self._camera, Adjustable):
            self._camera.adjust(exposure_us=exposure_us, gain_db=gain_db)
            self.forget_pictures("taken before the camera was set for this recipe")
