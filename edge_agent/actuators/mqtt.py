# SPDX-License-Identifier: Apache-2.0
"""The reject output over MQTT: one `RejectSignal` per part on the station's `reject` topic, QoS 0.

QoS 0 on purpose: a signal that comes late is worse than none, because the gate holds a part without one. Does
not queue and does not repeat. Used by the loop.
"""

import logging

from contracts.codec import encode
from contracts.commands import RejectSignal
from contracts.vocabulary import Disposition, SignalState
from edge_agent.actuators.base import OutputUse
from edge_agent.log_pace import is_worth_a_line
from edge_agent.reporting.bus import MessageBus

_log = logging.getLogger(__name__)


class MqttRejectOutput:
    """Publishes signals.

    Args:
        bus: the station's message bus.
        topic: the reject topic.
    """

    silence = Disposition.HELD

    def __init__(self, bus: MessageBus, topic: str) -> None:
        self._bus = bus
        self._topic = topic
        self.failed = 0

    def send(self, signal: RejectSignal, captured_s: float, use: OutputUse | None = None) -> SignalState:
        """Publish the signal; FAILED when the bus would not take it now. Delays are the receiver's business."""
        del captured_s, use
        is_taken = self._bus.publish(self._topic, encode(signal), qos=0)
        if is_taken:
            return SignalState.SENT
        self.failed += 1
        if is_worth_a_line(self.failed):
            _log.warning("reject signal failed trigger_number=%s failed=%d", signal.trigger_number, self.failed)
        return SignalState.FAILED
