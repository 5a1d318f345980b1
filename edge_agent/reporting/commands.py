# SPDX-License-Identifier: Apache-2.0
"""Commands from central to this station: read, dispatched, counted.

Does no work of its own; what it calls must not wait. Assignments are not commands: the package installer takes
them from their own topic, signed. Built by the composition root.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts import codec
from contracts.commands import InspectionKey, RequestEvidence, StationCommand, SwitchProduct
from contracts.ids import StationAddress
from contracts.topics import Channel, topic
from edge_agent.reporting.bus import MessageBus

_log = logging.getLogger(__name__)


@dataclass
class CommandCounters:
    """What happened since the start."""

    handled: int = 0
    refused: int = 0


class CommandHandler:
    """Subscribes to the command topic.

    Args:
        request_evidence: takes the inspections whose pictures are wanted.
        report_status: sends status and package status now.
        switch_product: makes another product from the next part on.
    """

    def __init__(
        self,
        bus: MessageBus,
        station: StationAddress,
        *,
        request_evidence: Callable[[Sequence[InspectionKey]], None],
        report_status: Callable[[], None],
        switch_product: Callable[[str], object],
    ) -> None:
        self.counters = CommandCounters()
        self._bus = bus
        self._topic = topic(station, Channel.COMMAND)
        self._request_evidence = request_evidence
        self._report_status = report_status
        self._switch_product = switch_product

    def start(self) -> None:
        """Begin to listen."""
        self._bus.subscribe(self._topic, self._on_command)

    def _on_command(self, _topic: str, payload: bytes) -> None:
        try:
            command = codec.decode(StationCommand, payload).command
        except codec.CodecError as error:
            # Also a command type that a newer central knows and this station does not.
            self.counters.refused += 1
            _log.warning("command refused reason=%s", error)
            return
        if isinstance(command, RequestEvidence):
            self._request_evidence(command.inspections)
        elif isinstance(command, SwitchProduct):
            self._switch_product(command.product)
        else:
            self._report_status()
        self.counters.handled += 1
