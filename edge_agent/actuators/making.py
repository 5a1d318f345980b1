# SPDX-License-Identifier: Apache-2.0
"""The reject outputs of a station: from its settings, all told of each part, started and stopped together.

The first output drives the gate: its answer is the report's. The others are told as well; what they do not take is
logged and counted, and changes no report. Called by the composition root.
"""

import logging
from collections.abc import Callable

from contracts.commands import RejectSignal
from contracts.ids import StationAddress
from contracts.reports import StationFault
from contracts.topics import Channel, topic
from contracts.vocabulary import Disposition, SignalState
from edge_agent.actuators.base import NoOutput, OutputUse, RejectOutput
from edge_agent.actuators.line import LineOutput
from edge_agent.actuators.mqtt import MqttRejectOutput
from edge_agent.clock import Clock
from edge_agent.controller.settings import make_link
from edge_agent.log_pace import is_worth_a_line
from edge_agent.output_settings import OutputSettings
from edge_agent.reporting.bus import MessageBus

_log = logging.getLogger(__name__)


class Outputs:
    """See the module.

    Args:
        gate: drives the gate.
        others: are told as well, by name.
        line: the one of them that has a worker, if any.
    """

    def __init__(
        self, gate: RejectOutput, others: dict[str, RejectOutput] | None = None, *, line: LineOutput | None = None
    ) -> None:
        self._gate = gate
        self._others = others or {}
        self.line = line
        self.untold = 0

    @property
    def silence(self) -> Disposition:
        """What the gate does with a part that it hears nothing of."""
        return self._gate.silence

    def start(self) -> None:
        """Start the worker, if there is one."""
        if self.line is None:
            return
        if self.line.silence is Disposition.PASSED:
            _log.warning(
                'output.drives = "reject" is not fail-safe: while the station or its link is away, defective parts '
                "pass. Let the line stop when the alive signal (output.alive_address) stands still, or drive the pass."
            )
        self.line.start()

    def stop(self, timeout_s: float) -> None:
        """Give the worker this long for the parts that are on their way."""
        if self.line is not None:
            self.line.stop(timeout_s)

    def send(self, signal: RejectSignal, captured_s: float, use: OutputUse | None = None) -> SignalState:
        """Tell every output that the part's recipe uses; the answer of the one that drives the gate."""
        try:
            answer = self._gate.send(signal, captured_s, use)
        finally:
            # The gate first; one that raises must not keep the word from the others.
            for name, output in self._others.items():
                if use is None or name in use.kinds:
                    self._tell(name, output, signal, captured_s, use)
        return answer

    def faults(self) -> list[StationFault]:
        """What is wrong with the worker's output."""
        return [] if self.line is None else self.line.troubles.faults()

    def _tell(
        self, name: str, output: RejectOutput, signal: RejectSignal, captured_s: float, use: OutputUse | None
    ) -> None:
        try:
            if output.send(signal, captured_s, use) is not SignalState.FAILED:
                return
            why = "not taken"
        except Exception as error:  # noqa: BLE001 - the gate's answer counts, whatever another output does
            why = str(error)
        self.untold += 1
        if is_worth_a_line(self.untold):
            _log.warning("signal beside the gate failed output=%s untold=%d: %s", name, self.untold, why)


def make_outputs(
    settings: OutputSettings,
    *,
    station: StationAddress,
    bus: MessageBus,
    clock: Clock,
    is_able: Callable[[], bool],
) -> Outputs:
    """The outputs that the settings ask for, not yet started. `is_able`: see `LineOutput`."""
    line = None
    if settings.line is not None:
        line = LineOutput(
            make_link(settings.line.controller),
            settings.line.wiring,
            clock,
            max_pending=settings.line.max_pending,
            retry_max_s=settings.line.controller.retry_max_s,
            is_able=is_able,
        )
    made: dict[str, RejectOutput] = {}
    for kind in settings.kinds:
        if kind == "mqtt":
            made[kind] = MqttRejectOutput(bus, topic(station, Channel.REJECT))
        else:
            made[kind] = line or NoOutput()
    first = settings.kinds[0]
    return Outputs(made.pop(first), made, line=line)
