# SPDX-License-Identifier: Apache-2.0
import logging

import pytest

from contracts.codec import decode
from contracts.commands import RejectSignal
from contracts.topics import Channel, topic
from contracts.vocabulary import Disposition, SignalState
from edge_agent.actuators.base import OutputUse
from edge_agent.actuators.line import LineOutput, Wiring
from edge_agent.actuators.making import Outputs, make_outputs
from edge_agent.clock import SystemClock
from edge_agent.controller.modbus import ModbusLink
from edge_agent.controller.settings import ControllerSettings
from edge_agent.output_settings import LineOutputSettings, OutputSettings
from plant.processes.broker import free_port
from tests.edge.line.conftest import word
from tests.edge.station_fakes import STATION, MemoryOutput
from tests.fakes.bus import FakeBroker, FakeBus

PASSED = word(Disposition.PASSED)


def test_answer_of_the_output_that_drives_the_gate_is_the_answer() -> None:
    for gate, other in ((SignalState.SENT, SignalState.FAILED), (SignalState.FAILED, SignalState.SENT)):
        outputs = Outputs(MemoryOutput([], answer=gate), {"mqtt": MemoryOutput([], answer=other)})
        assert outputs.send(PASSED, 1.0) is gate


def test_every_output_is_told_the_gate_first_even_when_one_raises() -> None:
    story: list[str] = []
    gate = MemoryOutput(story, failure=RuntimeError("cable"))
    first, second = MemoryOutput(story, failure=RuntimeError("cable")), MemoryOutput(story)
    outputs = Outputs(gate, {"first": first, "second": second})
    with pytest.raises(RuntimeError, match="cable"):
        outputs.send(PASSED, 1.0)
    assert [len(output.signals) for output in (gate, first, second)] == [1, 1, 1]
    assert outputs.untold == 1


def test_coil_and_topic_are_told_together_and_the_wire_of_the_topic_stays_as_it_was() -> None:
    broker = FakeBroker()
    bus = FakeBus(broker)
    bus.start()
    controller = ControllerSettings("modbus", f"tcp://127.0.0.1:{free_port()}")
    settings = OutputSettings(("modbus", "mqtt"), LineOutputSettings(controller, Wiring(address="3"), 10))
    outputs = make_outputs(settings, station=STATION, bus=bus, clock=SystemClock(), is_able=lambda: True)
    # Nobody listens at the coil's address: the gate's answer is FAILED, and the topic hears the word all the same.
    assert outputs.send(PASSED, 1.0) is SignalState.FAILED
    bus.stop()
    (payload,) = broker.published(topic(STATION, Channel.REJECT))
    assert decode(RejectSignal, payload) == PASSED
    assert {fault.code for fault in outputs.faults()} == {"output-away"}


def test_output_that_is_not_fail_safe_says_so_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    for drives_pass in (True, False):
        link = ModbusLink("127.0.0.1", free_port())
        line = LineOutput(link, Wiring(address="3", drives_pass=drives_pass), SystemClock())
        outputs = Outputs(line, line=line)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            outputs.start()
            outputs.stop(0.0)
        assert ("not fail-safe" in caplog.text) is not drives_pass
        assert outputs.silence is (Disposition.HELD if drives_pass else Disposition.PASSED)


def test_only_the_outputs_of_the_parts_recipe_are_told_and_the_gate_always_is() -> None:
    story: list[str] = []
    gate, other = MemoryOutput(story), MemoryOutput(story)
    outputs = Outputs(gate, {"mqtt": other})
    for use in (OutputUse(frozenset({"modbus"})), None, OutputUse(frozenset({"modbus", "mqtt"}))):
        outputs.send(PASSED, 1.0, use)
    assert (len(gate.signals), len(other.signals)) == (3, 2)
