# SPDX-License-Identifier: Apache-2.0
import time
from datetime import timedelta

from contracts.codec import encode
from contracts.commands import TriggerReceived
from contracts.topics import Channel, topic
from edge_agent.triggering.mqtt import MqttTriggers
from edge_agent.triggering.source import Trigger, TriggerBuffer
from tests.edge.station_fakes import STATION
from tests.fakes.bus import FakeBroker, FakeBus
from tests.fakes.clock import FakeClock
from tests.fakes.waiting import wait_until

TRIGGER = topic(STATION, Channel.TRIGGER)


def taken(buffer: TriggerBuffer) -> list[Trigger]:
    """Everything that waits."""
    found: list[Trigger] = []
    while (trigger := buffer.take(0.0)) is not None:
        found.append(trigger)
    return found


def test_triggers_without_a_number_are_counted_on_from_the_last_recorded_one() -> None:
    buffer = TriggerBuffer(FakeClock(), first_number=8)
    for number in (None, None, 20, None):
        buffer.put(number=number)
    assert [trigger.number for trigger in taken(buffer)] == [8, 9, 20, 21]


def test_trigger_that_bounces_is_counted_and_no_part() -> None:
    clock = FakeClock()
    buffer = TriggerBuffer(clock, debounce_s=0.02)
    for pause_s in (0.0, 0.005, 0.019, 0.02):
        clock.advance(pause_s)
        buffer.put()
    assert [trigger.number for trigger in taken(buffer)] == [0, 1]
    assert (buffer.received, buffer.repeated) == (2, 2)


def test_triggers_that_are_named_otherwise_are_two_parts_however_near() -> None:
    clock = FakeClock()
    buffer = TriggerBuffer(clock, debounce_s=0.02)
    buffer.put(part_id="a")
    buffer.put(part_id="b")
    clock.advance(1)
    buffer.put(number=7)
    buffer.put(number=8)
    named = [(trigger.number, trigger.part_id) for trigger in taken(buffer)]
    assert named == [(0, "a"), (1, "b"), (7, None), (8, None)]


def test_number_that_comes_again_is_a_repetition_however_late() -> None:
    clock = FakeClock()
    buffer = TriggerBuffer(clock)
    buffer.put(number=7, part_id="a")
    clock.advance(60)
    buffer.put(number=7, part_id="a")
    assert (len(taken(buffer)), buffer.repeated) == (1, 1)


def test_trigger_beyond_the_bound_is_dropped_but_keeps_its_number() -> None:
    clock = FakeClock()
    buffer = TriggerBuffer(clock, capacity=2)
    for _ in range(3):
        buffer.put()
    assert [trigger.number for trigger in taken(buffer)] == [0, 1]
    buffer.put()
    assert [trigger.number for trigger in taken(buffer)] == [3]
    assert buffer.dropped == 1


def test_time_of_the_sender_counts_only_if_its_clock_is_the_stations() -> None:
    clock = FakeClock()
    for shares_clock, age_s, expected_s in ((False, 2, 0), (True, 2, 2), (True, -2, 0), (True, 3600, 0)):
        buffer = TriggerBuffer(clock, shares_clock=shares_clock)
        buffer.put(at=clock.now() - timedelta(seconds=age_s))
        (trigger,) = taken(buffer)
        assert clock.monotonic() - trigger.at_s == expected_s
        assert clock.now() - trigger.at == timedelta(seconds=expected_s)


def test_triggers_of_the_topic_come_in_order_and_an_unreadable_one_is_a_part_that_cannot_be_named() -> None:
    broker = FakeBroker()
    bus, clock = FakeBus(broker), FakeClock()
    source = MqttTriggers(bus, TRIGGER, TriggerBuffer(clock), clock)
    source.open()
    source.open()
    bus.start()
    wait_until(lambda: bus.is_connected)
    whole = TriggerReceived(trigger_number=5, part_id="SN-5", product="ring")
    for payload in (encode(whole), b"SN-6", b'{"product": "Ring A"}'):
        bus.publish(TRIGGER, payload, qos=1)
    wait_until(lambda: source.buffer.received == 3)
    first, second, third = (source.read(1.0) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.number, first.part_id, first.product, first.fault) == (5, "SN-5", "ring", "")
    assert (second.number, second.part_id) == (6, "SN-6")
    assert (third.number, third.part_id, source.unreadable) == (7, None, 1)
    assert "product" in third.fault
    bus.stop()


def test_broker_away_is_a_fault_that_keeps_the_time_it_began() -> None:
    broker = FakeBroker()
    bus, clock = FakeBus(broker), FakeClock()
    source = MqttTriggers(bus, TRIGGER, TriggerBuffer(clock), clock)
    began = clock.now()
    assert [fault.code for fault in source.faults()] == ["trigger-away"]
    clock.advance(5)
    assert [fault.since for fault in source.faults()] == [began]
    bus.start()
    wait_until(lambda: bus.is_connected)
    assert source.faults() == []
    bus.stop()


def test_reader_waits_no_longer_than_it_said() -> None:
    buffer = TriggerBuffer(FakeClock())
    began = time.monotonic()
    assert buffer.take(0.05) is None
    assert time.monotonic() - began >= 0.04
