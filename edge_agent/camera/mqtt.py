# SPDX-License-Identifier: Apache-2.0
"""Cameras that publish their frames over MQTT, on the station's `frame` topic.

Takes packed frames (header, then picture) or bare JPEG/PNG; one camera sends one kind. Bare pictures are
numbered as they arrive, before the bounded buffer, so that a picture dropped there shows as a gap. Does not own
the bus: subscribes once and stays subscribed. Payloads that are neither are counted and ignored: no part can be
named from them.
"""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.codec import CodecError
from contracts.frames import MAGIC, MAX_FRAME_BYTES
from edge_agent.camera.decoding import decode_picture, frame_from_packed
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError
from edge_agent.log_pace import is_worth_a_line
from edge_agent.reporting.bus import MessageBus

_log = logging.getLogger(__name__)

_JPEG_START: Final = b"\xff\xd8\xff"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class _Arrival:
    payload: bytes
    is_packed: bool
    at: datetime
    monotonic: float
    trigger_number: int


class MqttSource:
    """Frames from the station's `frame` topic.

    Args:
        bus: the station's message bus.
        topic: the frame topic.
        clock: the station's clock.
        capacity: frames kept for the loop; the newest beyond it are dropped and counted.
        first_trigger: number of the first bare picture.
        product: product of bare pictures.
        shares_clock: the camera's wall clock is the station's (see `frame_from_packed`).
    """

    def __init__(
        self,
        bus: MessageBus,
        topic: str,
        clock: Clock,
        *,
        capacity: int = 8,
        first_trigger: int = 0,
        product: str | None = None,
        shares_clock: bool = False,
    ) -> None:
        self._bus = bus
        self._topic = topic
        self._clock = clock
        self._capacity = capacity
        self._next_trigger = first_trigger
        self._product = product
        self._shares_clock = shares_clock
        self._is_subscribed = False
        self._is_open = False
        self._arrived: deque[_Arrival] = deque()
        self._changed = threading.Condition()
        self.dropped = 0
        self.unreadable = 0

    def open(self) -> None:
        """Subscribe, once.

        Raises:
            DeviceError: the broker is away, so no frame can come.
        """
        if not self._is_subscribed:
            self._bus.subscribe(self._topic, self._on_frame)
            self._is_subscribed = True
        self._check_link()
        self._is_open = True

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame that arrived.

        Raises:
            DeviceError: nothing is waiting and the broker is away, or the source was not opened.
        """
        with self._changed:
            if not self._is_open:
                msg = f"the frame topic {self._topic} is not open"
                raise DeviceError(msg, remedy="open it first", code="source-gone")
            if not self._arrived:
                self._changed.wait(timeout_s)
            if self._arrived:
                arrival = self._arrived.popleft()
            else:
                self._check_link()
                return None
        return self._decode(arrival)

    def close(self) -> None:
        """Read no more, but stay subscribed: the bus resubscribes by itself, and what arrives meanwhile is kept."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def _check_link(self) -> None:
        if not self._bus.is_connected:
            msg = "the broker that carries the camera's frames is away"
            raise DeviceError(msg, remedy="start the broker, or correct broker.url", code="source-gone")

    def _on_frame(self, _topic: str, payload: bytes) -> None:
        """Runs on the bus's thread: keeps the bytes, leaves decoding to the reader."""
        is_packed = payload[:4] == MAGIC
        if len(payload) > MAX_FRAME_BYTES or not (is_packed or payload.startswith((_JPEG_START, _PNG_START))):
            self._count_unreadable(f"expected a packed frame, JPEG or PNG, got {len(payload)} bytes {payload[:8]!r}")
            return
        with self._changed:
            arrival = _Arrival(payload, is_packed, self._clock.now(), self._clock.monotonic(), self._next_trigger)
            self._next_trigger += 0 if is_packed else 1
            if len(self._arrived) >= self._capacity:
                # Lossy on purpose: memory is bounded. The gap in the numbers reports the part.
                self.dropped += 1
                if is_worth_a_line(self.dropped):
                    _log.warning("frame dropped topic=%s dropped=%d", self._topic, self.dropped)
                return
            self._arrived.append(arrival)
            self._changed.notify()

    def _decode(self, arrival: _Arrival) -> Frame | None:
        if arrival.is_packed:
            waited_s = self._clock.monotonic() - arrival.monotonic
            try:
                return frame_from_packed(
                    arrival.payload, self._clock, shares_clock=self._shares_clock, waited_s=waited_s
                )
            except CodecError as error:
                self._count_unreadable(str(error))
                return None
        pixels, fault = decode_picture(arrival.payload)
        return Frame(
            pixels=pixels,
            captured_at=arrival.at,
            captured_monotonic=arrival.monotonic,
            trigger_number=arrival.trigger_number,
            product=self._product,
            fault=fault,
        )

    def _count_unreadable(self, why: str) -> None:
        self.unreadable += 1
        if is_worth_a_line(self.unreadable):
            _log.warning("frame ignored topic=%s unreadable=%d: %s", self._topic, self.unreadable, why)
