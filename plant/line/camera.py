# SPDX-License-Identifier: Apache-2.0
"""A simulated camera: a line clock, parts with known truth, frames over TCP.

For every takt one part passes: its truth is written down, then its frame goes to the connected station, as
`u32 big-endian length + packed frame`. With no station connected, or one that does not read fast enough, the
frame is lost and the trigger still counts, as at a real line. Judges nothing. Driven by `plant.line.cameras`.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.frames import FrameHeader, PictureEncoding, pack_frame
from contracts.ids import StationAddress
from plant.line.feed import LinePart, PartFeed
from plant.line.frame_server import FrameServer
from plant.line.truth import PartTruth, TruthBook

_log = logging.getLogger(__name__)
_RENDER_AHEAD = 8
# Books of older plants hold this column too.
_PHASE = "line"


@dataclass(frozen=True)
class CameraCounters:
    """What a camera did since it was started. parts_passed = frames_sent + the three kinds of loss.

    slips: takts that came late because the part was not rendered in time; the line then waits.
    """

    parts_passed: int
    frames_sent: int
    lost_no_station: int
    lost_slow_station: int
    lost_in_camera: int
    slips: int
    connections: int


class CameraSimulator:
    """One camera of the line. Threads: one renders ahead, one is the clock, one sends.

    `fault` says why the line stands still for good, when a part cannot be made or its truth cannot be written
    down; None otherwise.
    """

    def __init__(
        self,
        address: StationAddress,
        feed: PartFeed,
        truth: TruthBook,
        takt_s: float,
        *,
        phase_shift_s: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
        queue_frames: int = 4,
        on_trigger: Callable[[StationAddress, int], None] | None = None,
    ) -> None:
        self.address = address
        self._feed, self._truth, self._takt_s, self._phase_shift_s = feed, truth, takt_s, phase_shift_s
        self._on_trigger = on_trigger
        self._next_trigger = truth.last_trigger(str(address)) + 1
        self._already_passed = self._next_trigger - 1
        self._side, self._side_from = "A", self._next_trigger
        self._generation = 0
        self._lock = threading.Lock()
        self._stopping, self._running = threading.Event(), threading.Event()
        self._ahead: queue.Queue[tuple[int, int, LinePart]] = queue.Queue(_RENDER_AHEAD)
        self._counts = {"camera": 0, "slips": 0}
        self._server = FrameServer(str(address), host, port, queue_frames)
        self._host, self.port = host, self._server.port
        self.fault: str | None = None
        self._threads = [
            threading.Thread(target=target, name=f"{address.station}{target.__name__}", daemon=True)
            for target in (self._render_ahead, self._tick)
        ]

    @property
    def url(self) -> str:
        """Where a station connects."""
        return f"tcp://{self._host}:{self.port}"

    @property
    def parts_passed(self) -> int:
        """Parts that passed this camera since `start`."""
        with self._lock:
            return self._next_trigger - 1 - self._already_passed

    def use_side(self, side: str) -> None:
        """Show parts of this side only, from the very next trigger on; rendered-ahead parts are thrown away."""
        with self._lock:
            if side == self._side:
                return
            self._side, self._side_from = side, self._next_trigger
            self._generation += 1

    def counters(self) -> CameraCounters:
        """Numbers since `start`."""
        wire = self._server.counts()
        with self._lock:
            return CameraCounters(
                parts_passed=self._next_trigger - 1 - self._already_passed,
                frames_sent=wire["sent"],
                lost_no_station=wire["no_station"],
                lost_slow_station=wire["slow"],
                lost_in_camera=self._counts["camera"],
                slips=self._counts["slips"],
                connections=wire["connections"],
            )

    def start(self) -> None:
        """Listen and render ahead. No part passes before `start_line`."""
        self._server.start()
        for thread in self._threads:
            thread.start()

    def start_line(self) -> None:
        """Let parts pass, one each takt."""
        self._running.set()

    def stop_line(self) -> None:
        """Hold the line; trigger numbers go on where they stopped."""
        self._running.clear()

    def stop(self) -> None:
        """End all threads and close the socket. The camera cannot be started again."""
        self._stopping.set()
        self._running.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)
        self._server.stop()

    # -- rendering -----------------------------------------------------------------------------------

    def _render_ahead(self) -> None:
        trigger, generation = self._next_trigger, 0
        while not self._stopping.is_set():
            with self._lock:
                if self._generation != generation:
                    generation, trigger = self._generation, self._next_trigger
                side, side_from = self._side, self._side_from
            try:
                part = self._feed.part(trigger, side, trigger - side_from)
            except Exception as error:  # noqa: BLE001 - whatever it is, the line must stop and say so
                self._stand_still(trigger, error)
                return
            while not self._stopping.is_set():
                with self._lock:
                    if self._generation != generation:
                        break
                try:
                    self._ahead.put((generation, trigger, part), timeout=0.1)
                    trigger += 1
                    break
                except queue.Full:
                    continue

    def _take(self) -> LinePart | None:
        """The part of the next trigger, waiting for the renderer; None when stopping."""
        while not self._stopping.is_set():
            try:
                generation, trigger, part = self._ahead.get(timeout=0.1)
            except queue.Empty:
                continue
            with self._lock:
                if generation == self._generation and trigger == self._next_trigger:
                    return part
        return None

    # -- the line clock ------------------------------------------------------------------------------

    def _tick(self) -> None:
        due = None
        while not self._stopping.is_set():
            if not self._running.is_set():
                due = None
                self._stopping.wait(0.02)
                continue
            now = time.monotonic()
            due = now + self._phase_shift_s if due is None else due
            if now < due:
                self._stopping.wait(min(due - now, 0.1))
                continue
            part = self._take()
            if part is None:
                return
            late_s = time.monotonic() - due
            if late_s > self._takt_s:
                # A line does not run faster to catch up; the schedule moves instead.
                due += late_s
                self._count("slips")
            due += self._takt_s
            trigger = self._next_trigger
            try:
                has_passed = self._pass(part)
            except Exception as error:  # noqa: BLE001 - a full disk, say: the line must stop and say so
                self._stand_still(trigger, error)
                return
            if not has_passed:
                due -= self._takt_s

    def _pass(self, part: LinePart) -> bool:
        """One part passes. False when its side was given up in the meantime: then nothing has passed."""
        captured_at = datetime.now(UTC)
        with self._lock:
            if part.side != self._side:
                return False
            trigger = self._next_trigger
            self._truth.record(
                PartTruth(
                    station=str(self.address),
                    trigger_number=trigger,
                    part_number=part.part_number,
                    product=part.product,
                    part_id=part.part_id,
                    is_defective=part.is_defective,
                    defect_class=part.defect_class,
                    severity=part.severity,
                    mask_px=part.mask_px,
                    phase=_PHASE,
                    side=part.side,
                    captured_at=captured_at,
                )
            )
            self._next_trigger += 1
        if self._on_trigger is not None:
            self._on_trigger(self.address, trigger)
        if part.is_dropped:
            self._count("camera")
        else:
            self._server.offer(pack_line_part(part, trigger, captured_at))
        return True

    def _stand_still(self, trigger: int, error: Exception) -> None:
        self.fault = f"part {trigger}: {error}"
        _log.error("line stands still station=%s %s", self.address, self.fault)

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1


def pack_line_part(part: LinePart, trigger_number: int, captured_at: datetime) -> bytes:
    """A part as a packed raw frame, always marked as simulated."""
    height, width = part.pixels.shape[:2]
    header = FrameHeader(
        trigger_number=trigger_number,
        captured_at=captured_at,
        product=part.product,
        part_id=part.part_id,
        encoding=PictureEncoding.RAW,
        height_px=height,
        width_px=width,
        channels=3,
        is_simulated=True,
    )
    return pack_frame(header, part.pixels.tobytes())
