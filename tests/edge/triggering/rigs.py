# SPDX-License-Identifier: Apache-2.0
"""A camera and a trigger source in memory, on a clock that only their waiting moves."""

import math
from collections import deque
from collections.abc import Callable

from contracts.reports import StationFault
from edge_agent.camera.source import Frame
from edge_agent.errors import DeviceError
from edge_agent.triggering.paired import TriggeredSource
from edge_agent.triggering.pairing import Pairing
from edge_agent.triggering.source import Trigger, TriggerBuffer
from tests.edge.station_fakes import frame_of
from tests.fakes.clock import FakeClock

GRAIN_S = 0.001


class Line:
    """Things that happen at set times; waiting lets them happen."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.start_s = self.clock.monotonic()
        self._plan: list[tuple[float, Callable[[], None]]] = []

    def at(self, second: float, happens: Callable[[], None]) -> None:
        """`second` counts from the start."""
        self._plan.append((self.start_s + second, happens))
        self._plan.sort(key=lambda planned: planned[0])

    def wait(self, timeout_s: float, until: Callable[[], bool]) -> None:
        """Let time go on by at most `timeout_s`."""
        give_up_s = self.clock.monotonic() + timeout_s
        while not until() and self.clock.monotonic() < give_up_s:
            self.clock.advance(GRAIN_S)
            while self._plan and self._plan[0][0] <= self.clock.monotonic():
                self._plan.pop(0)[1]()


class ScriptedCamera:
    """Gives what was captured, `transfer_s` later; fires when told; can be away."""

    def __init__(self, line: Line, *, transfer_s: float = 0.0) -> None:
        self._line = line
        self._transfer_s = transfer_s
        self._here: deque[Frame] = deque()
        self._count = 1000
        self.is_away = False
        self.fired: list[float] = []
        self.answers_fire = True

    def capture(self, **changes: object) -> None:
        """A frame now."""
        self._count += 1
        frame = frame_of(self._count, self._line.clock, **changes)
        here_s = self._line.clock.monotonic() - self._line.start_s + self._transfer_s
        self._line.at(here_s, lambda: self._here.append(frame))

    def open(self) -> None:
        if self.is_away:
            raise DeviceError("no camera", remedy="plug it in")

    def read(self, timeout_s: float) -> Frame | None:
        if self.is_away:
            raise DeviceError("gone", remedy="plug it in")
        self._line.wait(timeout_s, lambda: bool(self._here))
        return self._here.popleft() if self._here else None

    def close(self) -> None:
        pass


class FiringCamera(ScriptedCamera):
    """One that can be fired."""

    def fire(self) -> None:
        self.fired.append(self._line.clock.monotonic() - self._line.start_s)
        if self.is_away:
            raise DeviceError("gone", remedy="plug it in")
        if self.answers_fire:
            self.capture()


class ScriptedTriggers:
    """Gives what was put into its buffer."""

    def __init__(self, line: Line, *, debounce_s: float = 0.0, capacity: int = 256) -> None:
        self._line = line
        self.buffer = TriggerBuffer(line.clock, debounce_s=debounce_s, capacity=capacity)
        self.found: list[StationFault] = []
        self.is_open = False

    def at(self, second: float, part_id: str | None = None, **said: object) -> None:
        """A trigger at a time."""
        self._line.at(second, lambda: self.buffer.put(part_id=part_id, **said))  # type: ignore[arg-type]  # a test names what is said

    def open(self) -> None:
        self.is_open = True

    def read(self, timeout_s: float) -> Trigger | None:
        taken: list[Trigger] = []

        def has_one() -> bool:
            if not taken and (trigger := self.buffer.take(0.0)) is not None:
                taken.append(trigger)
            return bool(taken)

        if not has_one():
            self._line.wait(timeout_s, has_one)
        return taken[0] if taken else None

    def close(self) -> None:
        self.is_open = False

    def faults(self) -> list[StationFault]:
        return self.found


class Paired:
    """A camera with triggers; `free-run`, `software` or `hardware`."""

    def __init__(
        self,
        mode: str,
        *,
        delay_s: float = 0.0,
        window_s: float = 0.1,
        arrival_s: float = 0.2,
        transfer_s: float = 0.0,
        max_pending: int = 64,
        max_frames: int = 8,
        debounce_s: float = 0.0,
    ) -> None:
        self.line = Line()
        firing = FiringCamera(self.line, transfer_s=transfer_s) if mode == "software" else None
        self.camera = firing or ScriptedCamera(self.line, transfer_s=transfer_s)
        self.triggers = ScriptedTriggers(self.line, debounce_s=debounce_s)
        self.source = TriggeredSource(
            self.camera,
            self.triggers,
            Pairing(
                takes_first_after=mode == "free-run",
                window_s=window_s,
                arrival_s=arrival_s,
                max_pending=max_pending,
                max_frames=max_frames,
            ),
            self.line.clock,
            firing=firing,
            is_free_running=mode == "free-run",
            delay_s=delay_s,
        )
        self.source.open()

    def frames_at(self, *seconds: float) -> None:
        """The camera captures by itself."""
        for second in seconds:
            self.line.at(second, self.camera.capture)

    def run(self, seconds: float) -> list[Frame]:
        """Everything that comes out within a time."""
        give_up_s = self.line.clock.monotonic() + seconds
        found: list[Frame] = []
        while (left_s := give_up_s - self.line.clock.monotonic()) > 0:
            frame = self.source.read(min(left_s, 0.2))
            if frame is not None:
                found.append(frame)
        return found

    def second_of(self, frame: Frame) -> float:
        """When a frame was captured, counted from the start, to 10 ms: the line's own grain is 1 ms."""
        return math.floor((frame.captured_monotonic - self.line.start_s) * 100 + 0.01) / 100

    def codes(self) -> set[str]:
        return {fault.code for fault in self.source.faults()}
