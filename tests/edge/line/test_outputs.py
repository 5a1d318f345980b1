# SPDX-License-Identifier: Apache-2.0
"""Pulses as real servers of line controllers see them. Times are read at the server, on the station's clock."""

import time
from collections.abc import Callable

import pytest

from contracts.vocabulary import Disposition, SignalState
from edge_agent.actuators.base import LineTiming, OutputUse
from tests.edge.line.conftest import AnyController, Driven, word
from tests.fakes.controllers import ModbusController, MuteController, OpcUaController
from tests.fakes.waiting import wait_until

FLAG, ALIVE = 3, 5
PASSED, REJECTED, HELD = Disposition.PASSED, Disposition.REJECTED, Disposition.HELD
# A pulse is never shorter than it was ordered but for the clock's own grain.
GRAIN_S = 0.002
Make = Callable[..., Driven]


def pulses(controller: AnyController, flag: int = FLAG) -> list[tuple[float, float]]:
    """(begin, end) of each whole pulse."""
    changes = controller.changes(flag)
    return [(begin, end) for (begin, _), (end, _) in zip(changes[::2], changes[1::2], strict=False)]


def test_each_part_that_may_pass_gets_one_whole_pulse_after_the_delay(controller: AnyController, driven: Make) -> None:
    rig = driven(controller, pulse_s=0.05, delay_s=0.4, tolerance_s=10.0)
    captured = [rig.clock.monotonic() + 0.1 * number for number in range(4)]
    words = [PASSED, REJECTED, PASSED, HELD]
    answers = [rig.send(said, at) for said, at in zip(words, captured, strict=True)]
    assert answers == [SignalState.SENT] * 4
    wait_until(lambda: len(pulses(controller)) == 2, lambda: str(controller.changes(FLAG)))
    time.sleep(0.2)
    seen = pulses(controller)
    assert len(seen) == 2
    for (begin, end), at in zip(seen, captured[::2], strict=True):
        assert begin >= at + 0.4
        assert end - begin >= 0.05 - GRAIN_S


def test_reject_wiring_drives_every_part_but_those_that_may_pass(controller: AnyController, driven: Make) -> None:
    rig = driven(controller, drives_pass=False, pulse_s=0.02)
    for said in (PASSED, REJECTED, HELD, PASSED):
        assert rig.send(said) is SignalState.SENT
        time.sleep(0.08)
    wait_until(lambda: len(pulses(controller)) == 2, lambda: str(controller.changes(FLAG)))
    assert rig.output.silence is PASSED


def test_pulse_has_its_whole_length_from_when_the_output_went_on(modbus: ModbusController, driven: Make) -> None:
    rig = driven(modbus, pulse_s=0.2)
    modbus.carries_out_next_after_s = 0.4
    rig.send(PASSED)
    wait_until(lambda: len(pulses(modbus)) == 1)
    ((begin, end),) = pulses(modbus)
    assert end - begin >= 0.2 - GRAIN_S


def test_pulses_of_neighbours_become_one_and_none_is_shortened(modbus: ModbusController, driven: Make) -> None:
    rig = driven(modbus, pulse_s=0.2, delay_s=0.3, tolerance_s=10.0)
    first = rig.clock.monotonic()
    for number in range(3):
        assert rig.send(PASSED, first + 0.1 * number) is SignalState.SENT
    wait_until(lambda: len(pulses(modbus)) == 1, lambda: str(modbus.changes(FLAG)))
    ((begin, end),) = pulses(modbus)
    assert begin >= first + 0.3
    assert end >= first + 0.3 + 0.2 + 0.2 - GRAIN_S


def test_twenty_parts_under_way_keep_their_order_and_their_places(modbus: ModbusController, driven: Make) -> None:
    """Parts each 100 ms, 2 s to the gate: the last is taken before the first gets there."""
    rig = driven(modbus, pulse_s=0.03, delay_s=2.0, tolerance_s=10.0)
    first = rig.clock.monotonic()
    for number in range(20):
        assert rig.send(PASSED if number % 3 else HELD, first + 0.1 * number) is SignalState.SENT
    wanted = [first + 2.0 + 0.1 * number for number in range(20) if number % 3]
    wait_until(lambda: len(pulses(modbus)) == len(wanted), lambda: str(modbus.changes(FLAG)))
    # Never early, and each nearer to its own place than to its neighbour's on a machine that keeps up.
    assert all(begin >= due for (begin, _), due in zip(pulses(modbus), wanted, strict=True))
    assert all(end - begin >= 0.03 - GRAIN_S for begin, end in pulses(modbus))
    assert rig.output.troubles.count("late", 0) == 0


def test_part_that_is_held_ends_the_pulse_of_the_part_before_it(modbus: ModbusController, driven: Make) -> None:
    rig = driven(modbus, pulse_s=5.0, delay_s=0.2, tolerance_s=10.0)
    now = rig.clock.monotonic()
    rig.send(PASSED, now)
    rig.send(HELD, now + 0.3)
    wait_until(lambda: len(pulses(modbus)) == 1, lambda: str(modbus.changes(FLAG)))
    assert pulses(modbus)[0][1] < now + 0.2 + 5.0
    assert "output-overlap" in rig.codes()


def test_part_that_has_passed_its_place_is_failed_and_gets_no_pulse(controller: AnyController, driven: Make) -> None:
    rig = driven(controller, pulse_s=0.02, delay_s=0.1)
    assert rig.send(PASSED, rig.clock.monotonic() - 0.2) is SignalState.FAILED
    assert "output-late" in rig.codes()
    assert rig.send(PASSED) is SignalState.SENT
    wait_until(lambda: len(pulses(controller)) == 1)
    time.sleep(0.1)
    assert len(pulses(controller)) == 1


def test_pulse_that_the_worker_could_not_give_in_time_is_left_out_and_counted(
    modbus: ModbusController, driven: Make
) -> None:
    rig = driven(modbus, pulse_s=0.02, delay_s=0.3, tolerance_s=0.05)
    now = rig.clock.monotonic()
    modbus.answers_after_s = 0.5
    # The first write keeps the worker until the second part has gone by.
    rig.send(PASSED, now)
    rig.send(PASSED, now + 0.15)
    wait_until(lambda: "output-late" in rig.codes(), lambda: str(rig.codes()))
    modbus.answers_after_s = 0.0
    wait_until(lambda: len(pulses(modbus)) == 1)
    assert rig.output.troubles.count("late", 0) == 1


def test_more_parts_than_the_bound_are_failed_and_those_before_keep_their_pulses(
    modbus: ModbusController, driven: Make
) -> None:
    rig = driven(modbus, pulse_s=0.02, delay_s=0.5, tolerance_s=10.0, max_pending=2)
    now = rig.clock.monotonic()
    answers = [rig.send(PASSED, now + 0.1 * number) for number in range(4)]
    assert answers == [SignalState.SENT, SignalState.SENT, SignalState.FAILED, SignalState.FAILED]
    assert "output-full" in rig.codes()
    wait_until(lambda: len(pulses(modbus)) == 2)


def test_nothing_is_taken_while_the_controller_is_away_and_pulses_go_on_when_it_is_back(
    controller: AnyController, driven: Make
) -> None:
    rig = driven(controller, pulse_s=0.02, timeout_s=0.5)
    assert rig.send(PASSED) is SignalState.SENT
    wait_until(lambda: len(pulses(controller)) == 1)
    controller.kill()
    wait_until(lambda: "output-away" in rig.codes())
    began = time.perf_counter()
    assert rig.send(PASSED) is SignalState.FAILED
    assert time.perf_counter() - began < 0.25
    fault = rig.output.troubles.faults()[0]
    assert (fault.code, bool(fault.remedy)) == ("output-away", True)
    controller.start()
    rig.until_taken()
    before = len(pulses(controller))
    assert rig.send(PASSED) is SignalState.SENT
    wait_until(lambda: len(pulses(controller)) == before + 1)


def test_part_under_way_while_the_link_breaks_gets_its_pulse_if_the_controller_is_back_in_time(
    modbus: ModbusController, driven: Make
) -> None:
    rig = driven(modbus, pulse_s=0.02, delay_s=6.0, tolerance_s=10.0, timeout_s=0.5)
    now = rig.clock.monotonic()
    assert rig.send(PASSED, now) is SignalState.SENT
    modbus.kill()
    wait_until(lambda: "output-away" in rig.codes())
    modbus.start()
    wait_until(lambda: len(pulses(modbus)) == 1, lambda: str(modbus.changes(FLAG)))
    assert pulses(modbus)[0][0] >= now + 6.0


def test_controller_that_never_answers_is_never_taken_for_one_that_does(mute: MuteController, driven: Make) -> None:
    rig = driven(mute, timeout_s=0.1, is_connected=False)
    wait_until(lambda: mute.connections >= 2)
    began = time.perf_counter()
    assert rig.send(PASSED) is SignalState.FAILED
    assert time.perf_counter() - began < 0.05
    assert "output-away" in rig.codes()


def test_controller_that_falls_silent_fails_the_pulse_it_was_given_and_says_so(
    modbus: ModbusController, driven: Make
) -> None:
    rig = driven(modbus, pulse_s=0.02, timeout_s=0.2)
    modbus.answers_after_s = 1.0
    assert rig.send(PASSED) is SignalState.SENT
    wait_until(lambda: {"output-away", "output-failed", "output-stuck"} <= rig.codes(), lambda: str(rig.codes()))
    assert rig.output.troubles.count("failed", 0) == 1


@pytest.mark.parametrize("address", ["999", "65535"])
def test_unknown_coil_is_a_fault_with_its_address(modbus: ModbusController, driven: Make, address: str) -> None:
    rig = driven(modbus, address=address, is_connected=False)
    wait_until(lambda: any("refused" in fault.message for fault in rig.output.troubles.faults()))
    fault = rig.output.troubles.faults()[0]
    assert (f"coil {address}" in fault.message, "address" in fault.remedy) == (True, True)
    assert rig.send(PASSED) is SignalState.FAILED


@pytest.mark.parametrize("address", ["ns=2;s=Nowhere", "ns=2;s=Fixed", "ns=2;s=Serial", "ns=7;i=1"])
def test_variable_that_cannot_be_written_is_a_fault_with_its_name(
    opcua: OpcUaController, driven: Make, address: str
) -> None:
    rig = driven(opcua, address=address, is_connected=False)
    wait_until(lambda: any("refused" in fault.message for fault in rig.output.troubles.faults()))
    assert address in rig.output.troubles.faults()[0].message
    assert rig.send(PASSED) is SignalState.FAILED


def test_alive_signal_changes_while_the_station_can_judge_and_stands_still_when_not(
    controller: AnyController, driven: Make
) -> None:
    able = [True]
    driven(controller, alive_address=controller.address(ALIVE), alive_s=0.05, is_able=lambda: able[0])
    wait_until(lambda: len(controller.changes(ALIVE)) >= 4)
    able[0] = False
    time.sleep(0.2)
    before = len(controller.changes(ALIVE))
    time.sleep(0.3)
    assert len(controller.changes(ALIVE)) == before


def test_output_left_on_by_a_killed_station_goes_off_at_the_next_start(modbus: ModbusController, driven: Make) -> None:
    modbus.note(FLAG, is_on=True)
    driven(modbus)
    assert modbus.changes(FLAG)[-1][1] is False


def test_idle_connection_is_kept_and_found_dead(modbus: ModbusController, driven: Make) -> None:
    rig = driven(modbus, timeout_s=0.3)
    before = modbus.writes(FLAG)
    wait_until(lambda: modbus.writes(FLAG) >= before + 2)
    modbus.answers_after_s = 2.0
    wait_until(lambda: "output-away" in rig.codes())


def test_stop_gives_the_pulses_that_are_due_and_leaves_the_output_off(modbus: ModbusController, driven: Make) -> None:
    rig = driven(modbus, pulse_s=0.05, delay_s=0.3, tolerance_s=10.0)
    now = rig.clock.monotonic()
    rig.send(PASSED, now)
    rig.send(PASSED, now + 60)
    assert rig.output.stop(1.0)
    assert len(pulses(modbus)) == 1
    assert modbus.changes(FLAG)[-1][1] is False
    # The part that was still far away is not forgotten in silence.
    assert rig.output.troubles.count("failed", 0) == 1


def test_pulse_comes_when_the_conveyor_has_gone_the_way_whatever_its_speed(
    modbus: ModbusController, driven: Make
) -> None:
    rig = driven(modbus, pulse_s=0.02, tolerance_s=10.0, encoder_address="10", distance_counts=500)
    # High word, low word: begins just below a wrap of 32 bits.
    position = 2**32 - 100
    moved: list[tuple[float, int]] = []

    def go_to(counts: int) -> None:
        value = (position + counts) % 2**32
        modbus.set_registers(10, [value >> 16, value & 0xFFFF])
        moved.append((time.monotonic(), counts))

    go_to(0)
    time.sleep(0.2)
    assert rig.send(PASSED) is SignalState.SENT
    for counts in range(0, 400, 10):
        go_to(counts)
        time.sleep(0.005)
    # The belt stops short of the gate: no pulse, however long it takes.
    time.sleep(0.5)
    assert modbus.changes(FLAG) == []
    for counts in range(400, 700, 10):
        go_to(counts)
        time.sleep(0.01)
    wait_until(lambda: len(pulses(modbus)) == 1, lambda: str(modbus.changes(FLAG)))
    begin = pulses(modbus)[0][0]
    # Placed from the speed between readings: not before the belt was within a few readings of the gate.
    assert max(counts for at, counts in moved if at <= begin) >= 450


def test_parts_on_a_belt_whose_encoder_went_away_are_counted_as_failed(modbus: ModbusController, driven: Make) -> None:
    rig = driven(modbus, encoder_address="10", distance_counts=500, timeout_s=0.3)
    assert rig.send(PASSED) is SignalState.SENT
    modbus.answers_after_s = 2.0
    wait_until(lambda: {"output-away", "output-failed"} <= rig.codes(), lambda: str(rig.codes()))
    assert rig.output.troubles.count("failed", 0) == 1


def test_each_part_is_driven_by_the_times_of_its_own_recipe(modbus: ModbusController, driven: Make) -> None:
    """Before and after a changeover, both under way at once: the later part is the first at the gate."""
    rig = driven(modbus, pulse_s=0.05, delay_s=5.0, tolerance_s=10.0)
    now_s = rig.clock.monotonic()
    slow = OutputUse(frozenset({"modbus"}), LineTiming(pulse_s=0.3, delay_s=1.2))
    quick = OutputUse(frozenset({"modbus"}), LineTiming(pulse_s=0.05, delay_s=0.4))
    for use in (slow, quick):
        assert rig.output.send(word(PASSED), now_s, use) is SignalState.SENT
    wait_until(lambda: len(pulses(modbus)) == 2, lambda: str(modbus.changes(FLAG)))
    (first, second) = pulses(modbus)
    assert now_s + 0.4 <= first[0] < now_s + 1.2 <= second[0] < now_s + 5.0
    assert first[1] - first[0] >= 0.05 - GRAIN_S
    assert second[1] - second[0] >= 0.3 - GRAIN_S


def test_way_by_encoder_counts_is_that_of_the_parts_own_recipe(modbus: ModbusController, driven: Make) -> None:
    rig = driven(modbus, encoder_address="20", encoder_bits=32, distance_counts=10**6, tolerance_s=10.0)
    near = OutputUse(frozenset({"modbus"}), LineTiming(pulse_s=0.05, distance_counts=50))
    assert rig.output.send(word(PASSED), rig.clock.monotonic(), near) is SignalState.SENT
    for counts in range(0, 80, 10):
        modbus.set_registers(20, [0, counts])
        time.sleep(0.03)
    wait_until(lambda: len(pulses(modbus)) == 1, lambda: str(modbus.changes(FLAG)))
