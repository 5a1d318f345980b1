# SPDX-License-Identifier: Apache-2.0
"""Triggers from real servers of line controllers."""

import time
from collections.abc import Callable, Iterator

import pytest
from asyncua import ua

from edge_agent.clock import SystemClock
from edge_agent.controller.modbus import ModbusLink
from edge_agent.controller.opcua import OpcUaLink
from edge_agent.triggering.controller import ControllerTriggers, PartReader, PolledFlag
from edge_agent.triggering.opcua import SubscribedVariable
from edge_agent.triggering.source import Trigger, TriggerBuffer
from tests.fakes.controllers import ModbusController, MuteController, OpcUaController
from tests.fakes.waiting import wait_until

FLAG = 7
WITHIN_A_LOOK_S = 2.0
Make = Callable[..., ControllerTriggers]


@pytest.fixture
def watched() -> Iterator[Make]:
    """Makes trigger sources, and ends them."""
    made: list[ControllerTriggers] = []

    def make(
        controller: ModbusController | OpcUaController | MuteController,
        *,
        address: str | None = None,
        number: str | None = None,
        part_id: str | None = None,
        timeout_s: float = 2.0,
        is_connected: bool = True,
    ) -> ControllerTriggers:
        clock = SystemClock()
        buffer = TriggerBuffer(clock, first_number=100)
        if isinstance(controller, OpcUaController):
            opcua = OpcUaLink(controller.url, timeout_s=timeout_s)
            part = PartReader(opcua, number, part_id)
            where = address or controller.address(FLAG)
            subscribed = SubscribedVariable(
                opcua, where, part, buffer, clock, interval_s=0.01, is_number=number == where
            )
            source = ControllerTriggers(opcua, subscribed, buffer, clock, retry_max_s=0.2)
        else:
            modbus = ModbusLink("127.0.0.1", controller.port, timeout_s=timeout_s, text_registers=4)
            part = PartReader(modbus, number, part_id)
            polled = PolledFlag(modbus, address or str(FLAG), part, buffer, clock, poll_s=0.002)
            source = ControllerTriggers(modbus, polled, buffer, clock, retry_max_s=0.2)
        source.open()
        made.append(source)
        if is_connected:
            wait_until(lambda: source.faults() == [], lambda: str(source.faults()))
        return source

    yield make
    for source in made:
        source.close()


def heard(source: ControllerTriggers, count: int) -> list[Trigger]:
    """Wait for this many triggers; no more may come."""
    found: list[Trigger] = []

    def is_whole() -> bool:
        trigger = source.read(0.01)
        if trigger is not None:
            found.append(trigger)
        return len(found) >= count

    wait_until(is_whole, lambda: str(found))
    assert source.read(0.2) is None
    return found


def test_coil_that_goes_on_is_a_trigger_with_number_and_serial_of_its_registers(
    modbus: ModbusController, watched: Make
) -> None:
    modbus.set_registers(20, [1, 5])
    modbus.set_registers(30, [int.from_bytes(pair, "big") for pair in (b"SN", b"-7", b" \0", b"\0\0")])
    source = watched(modbus, number="20", part_id="30")
    before = time.monotonic()
    modbus.set_flag(FLAG, is_on=True)
    (trigger,) = heard(source, 1)
    assert (trigger.number, trigger.part_id) == (65_541, "SN-7")
    # The look that saw it may have been begun before the coil was set, and then taken its turn after it.
    assert before - WITHIN_A_LOOK_S <= trigger.at_s <= time.monotonic()
    modbus.set_flag(FLAG, is_on=False)
    assert source.read(0.1) is None
    modbus.set_registers(20, [1, 6])
    modbus.set_flag(FLAG, is_on=True)
    assert [trigger.number for trigger in heard(source, 1)] == [65_542]


def test_coil_that_is_on_when_the_link_opens_is_no_trigger(modbus: ModbusController, watched: Make) -> None:
    modbus.set_flag(FLAG, is_on=True)
    source = watched(modbus)
    assert source.read(0.2) is None
    modbus.set_flag(FLAG, is_on=False)
    time.sleep(0.1)
    modbus.set_flag(FLAG, is_on=True)
    assert [trigger.number for trigger in heard(source, 1)] == [100]


def test_boolean_variable_triggers_when_it_goes_on_and_no_change_folds_into_another(
    opcua: OpcUaController, watched: Make
) -> None:
    opcua.set("Count", 40, ua.VariantType.UInt32)
    opcua.set("Serial", "SN-8", ua.VariantType.String)
    source = watched(opcua, part_id="ns=2;s=Serial")
    for _ in range(5):
        opcua.set(f"Flag{FLAG}", value=True, kind=ua.VariantType.Boolean)
        opcua.set(f"Flag{FLAG}", value=False, kind=ua.VariantType.Boolean)
    found = heard(source, 5)
    assert [(trigger.number, trigger.part_id) for trigger in found] == [(100 + n, "SN-8") for n in range(5)]


def test_counter_variable_triggers_with_every_new_value_and_numbers_the_part(
    opcua: OpcUaController, watched: Make
) -> None:
    opcua.set("Count", 40, ua.VariantType.UInt32)
    source = watched(opcua, address="ns=2;s=Count", number="ns=2;s=Count")
    for count in (41, 42, 45):
        opcua.set("Count", count, ua.VariantType.UInt32)
    assert [trigger.number for trigger in heard(source, 3)] == [41, 42, 45]


@pytest.mark.parametrize("kind", ["modbus", "opcua"])
def test_controller_away_is_a_fault_with_a_remedy_and_triggers_come_again_when_it_is_back(
    kind: str, request: pytest.FixtureRequest, watched: Make
) -> None:
    controller: ModbusController | OpcUaController = request.getfixturevalue(kind)
    source = watched(controller, timeout_s=0.5)
    controller.kill()
    wait_until(lambda: source.faults() != [])
    (fault,) = source.faults()
    assert (fault.code, bool(fault.remedy)) == ("trigger-away", True)
    controller.start()
    wait_until(lambda: source.faults() == [])
    if isinstance(controller, OpcUaController):
        controller.set(f"Flag{FLAG}", value=True, kind=ua.VariantType.Boolean)
    else:
        controller.set_flag(FLAG, is_on=True)
    assert [trigger.number for trigger in heard(source, 1)] == [100]


def test_controller_that_never_answers_is_a_fault(mute: MuteController, watched: Make) -> None:
    source = watched(mute, timeout_s=0.1, is_connected=False)
    wait_until(lambda: source.losses >= 2)
    assert "no answer" in source.faults()[0].message


def test_wrong_address_is_a_fault_that_names_it(
    modbus: ModbusController, opcua: OpcUaController, watched: Make
) -> None:
    for controller, wrong in ((modbus, "999"), (opcua, "ns=2;s=Nowhere")):
        for which in ("address", "number", "part_id"):
            source = watched(controller, is_connected=False, **{which: wrong})
            wait_until(lambda source=source: source.losses >= 1)  # type: ignore[misc]  # bound at once
            message, remedy = source.faults()[0].message, source.faults()[0].remedy
            assert wrong in message, message
            assert remedy


def test_part_whose_name_cannot_be_read_any_more_is_announced_without_it(
    modbus: ModbusController, watched: Make
) -> None:
    source = watched(modbus, number="20", timeout_s=0.3)
    modbus.refuses_registers = True
    modbus.set_flag(FLAG, is_on=True)
    assert [trigger.number for trigger in heard(source, 1)] == [100]
    wait_until(lambda: source.faults() != [])
