# SPDX-License-Identifier: Apache-2.0
"""Triggers from the station's `trigger` topic, QoS 1: JSON or a bare serial (`contracts.trigger_text`).

Does not own the bus: subscribes once and stays subscribed. A payload that cannot be read is a part all the same, one
that must not be judged by guess. A trigger published retained would come again after every reconnect: the number
tells, without one it is a part too many.
"""

import logging
from datetime import datetime

from contracts.codec import CodecError
from contracts.commands import TriggerReceived
from contracts.reports import StationFault
from contracts.trigger_text import read_trigger
from edge_agent.clock import Clock
from edge_agent.log_pace import is_worth_a_line
from edge_agent.reporting.bus import MessageBus
from edge_agent.triggering.source import Trigger, TriggerBuffer

_log = logging.getLogger(__name__)


class MqttTriggers:
    """See the module.

    Args:
        bus: the station's message bus.
        topic: the trigger topic.
        buffer: where triggers go.
        clock: the station's clock.
    """

    def __init__(self, bus: MessageBus, topic: str, buffer: TriggerBuffer, clock: Clock) -> None:
        self.buffer = buffer
        self._bus = bus
        self._topic = topic
        self._clock = clock
        self._is_subscribed = False
        self._away_since: datetime | None = None
        self.unreadable = 0

    def open(self) -> None:
        """Subscribe, once."""
        if not self._is_subscribed:
            self._bus.subscribe(self._topic, self._on_trigger)
            self._is_subscribed = True

    def read(self, timeout_s: float) -> Trigger | None:
        """The next trigger that arrived."""
        return self.buffer.take(timeout_s)

    def close(self) -> None:
        """Stay subscribed: the bus ends with the station."""

    def faults(self) -> list[StationFault]:
        """The broker is away."""
        if self._bus.is_connected:
            self._away_since = None
            return []
        self._away_since = self._away_since or self._clock.now()
        return [
            StationFault(
                code="trigger-away",
                message="the broker that carries the triggers is away: parts pass unseen",
                remedy="start the broker, or correct broker.url",
                since=self._away_since,
            )
        ]

    def _on_trigger(self, _topic: str, payload: bytes) -> None:
        """Runs on the bus's thread."""
        at_s = self._clock.monotonic()
        fault = ""
        try:
            said = read_trigger(payload)
        except CodecError as error:
            self.unreadable += 1
            if is_worth_a_line(self.unreadable):
                _log.warning("trigger unreadable topic=%s unreadable=%d: %s", self._topic, self.unreadable, error)
            said, fault = TriggerReceived(), f"the trigger cannot be read: {error}"[:200]
        self.buffer.put(
            number=said.trigger_number,
            part_id=said.part_id,
            product=said.product,
            fault=fault,
            at=said.at,
            at_s=at_s,
        )
