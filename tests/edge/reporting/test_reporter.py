# SPDX-License-Identifier: Apache-2.0
"""The reporter delivers at least once over a broker that loses, and ends with an empty outbox."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts import codec
from contracts.ids import StationAddress
from contracts.reports import InspectionReported, InspectionsReported
from contracts.topics import Channel, every_station, topic
from edge_agent.clock import SystemClock
from edge_agent.reporting.outbox import Outbox
from edge_agent.reporting.reporter import Reporter
from tests.edge.reporting.builders import STATION, receipt, report
from tests.fakes.bus import FakeBroker, FakeBus
from tests.fakes.waiting import wait_until

REPORTS = topic(STATION, Channel.REPORT)
RECEIPTS = topic(STATION, Channel.RECEIPT)


class Central:
    """Takes reports and answers with receipts, when it is told to."""

    def __init__(self, broker: FakeBroker) -> None:
        self.received: Counter[tuple[int, int]] = Counter()
        self.sizes: list[int] = []
        self.order: list[tuple[int, int]] = []
        self.is_answering = True
        self._bus = FakeBus(broker)
        self._bus.subscribe(every_station(Channel.REPORT), self._take)
        self._bus.start()

    def _take(self, _topic: str, payload: bytes) -> None:
        message = codec.decode(InspectionsReported, payload)
        keys = [(message.epoch, one.sequence) for one in message.reports]
        self.sizes.append(len(keys))
        self.order.extend(key for key in keys if key not in self.received)
        self.received.update(keys)
        if self.is_answering:
            self.answer(message.epoch, [one.sequence for one in message.reports])

    def answer(self, epoch: int, sequences: list[int]) -> None:
        """Send a receipt."""
        self._bus.publish(RECEIPTS, codec.encode(receipt(epoch, sequences)), qos=1)

    def stop(self) -> None:
        self._bus.stop()


class World:
    """Outbox, reporter, broker and central of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = FakeBroker()
        self.central = Central(self.broker)
        self.outbox = Outbox(folder / "outbox.db", SystemClock())
        self.bus = FakeBus(self.broker)
        self.reporter: Reporter | None = None

    def start(self, **bounds: float) -> Reporter:
        """Start the reporter with quick resends."""
        settings: dict[str, float] = {"resend_after_s": 0.2, "longest_silence_s": 0.4} | bounds
        self.reporter = Reporter(self.outbox, self.bus, STATION, **settings)  # type: ignore[arg-type]
        self.reporter.start()
        self.bus.start()
        return self.reporter

    def put(self, count: int) -> None:
        for _ in range(count):
            self.outbox.put(report(self.outbox.next_sequence()))

    def wait_empty(self) -> None:
        wait_until(
            lambda: self.outbox.flush(1) and self.outbox.row_count == 0,
            lambda: f"rows {self.outbox.row_count}, {self.reporter and self.reporter.counters}",
        )

    def close(self) -> None:
        if self.reporter is not None:
            self.reporter.stop()
        self.bus.stop()
        self.central.stop()
        self.outbox.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_live_report_goes_alone_and_its_receipt_empties_the_outbox(world: World) -> None:
    world.start()
    for count in range(1, 4):
        world.put(1)
        wait_until(lambda count=count: sum(world.central.received.values()) == count)  # type: ignore[misc]
    world.wait_empty()
    assert world.central.sizes == [1, 1, 1]
    assert world.reporter is not None
    assert world.reporter.counters.live_rows + world.reporter.counters.backlog_rows == 3


def test_backlog_goes_in_batches_of_at_most_500_oldest_first(world: World) -> None:
    world.put(1701)
    world.outbox.flush()
    world.start(resend_after_s=30)
    world.wait_empty()
    assert max(world.central.sizes) == 500
    assert len(world.central.sizes) <= 8
    assert world.central.order == [(world.outbox.epoch, sequence) for sequence in range(1, 1702)]


@pytest.mark.parametrize(("lost_share", "seed"), [(0.3, 1), (0.3, 2), (0.6, 3)])
def test_every_report_arrives_at_least_once_though_messages_and_receipts_are_lost(
    world: World, lost_share: float, seed: int
) -> None:
    generator = random.Random(seed)
    world.broker.loses = lambda _topic, _payload: generator.random() < lost_share
    world.put(700)
    world.outbox.flush()
    world.start()
    for _ in range(100):
        world.put(3)
    world.wait_empty()
    assert set(world.central.received) == {(world.outbox.epoch, sequence) for sequence in range(1, 1001)}


def test_reports_survive_a_broker_that_comes_and_goes(world: World) -> None:
    world.start()
    for _ in range(5):
        world.put(50)
        world.broker.go_down()
        world.put(50)
        world.broker.come_up()
    world.wait_empty()
    assert len(world.central.received) == 500


def test_rows_without_receipt_are_sent_again_after_a_reconnect(world: World) -> None:
    world.central.is_answering = False
    world.start(resend_after_s=3600)
    world.put(10)
    wait_until(lambda: len(world.central.received) == 10)
    world.broker.go_down()
    world.central.is_answering = True
    world.broker.come_up()
    world.wait_empty()
    assert min(world.central.received.values()) == 2


def test_rows_without_receipt_are_sent_again_after_silence(world: World) -> None:
    world.central.is_answering = False
    world.start(resend_after_s=0.1)
    world.put(10)
    wait_until(lambda: min(world.central.received.values(), default=0) >= 3)
    world.central.is_answering = True
    world.wait_empty()


def test_rows_in_flight_are_bounded_while_central_is_silent(world: World) -> None:
    world.central.is_answering = False
    world.put(300)
    world.outbox.flush()
    reporter = world.start(resend_after_s=3600, max_in_flight=100)
    wait_until(lambda: reporter.in_flight >= 75)
    world.put(200)
    world.outbox.flush()
    wait_until(lambda: len(world.central.received) >= 100)
    assert reporter.in_flight == 100
    assert len(world.central.received) == 100
    world.central.is_answering = True
    for sequence in list(world.central.received):
        world.central.answer(sequence[0], [sequence[1]])
    world.wait_empty()
    assert len(world.central.received) == 500


def test_live_reports_overtake_the_backlog(world: World) -> None:
    world.put(5000)
    world.outbox.flush()
    world.central.is_answering = False
    reporter = world.start(resend_after_s=3600, max_in_flight=1000)
    wait_until(lambda: len(world.central.received) >= 500)
    world.put(1)
    newest = (world.outbox.epoch, 5001)
    wait_until(lambda: newest in world.central.received)
    assert len(world.central.received) < 5001
    world.central.is_answering = True
    for sequence in list(world.central.received):
        world.central.answer(sequence[0], [sequence[1]])
    world.wait_empty()
    assert reporter.in_flight == 0


def test_messages_hold_one_epoch_each_after_restarts(world: World) -> None:
    world.put(3)
    world.outbox.close()
    world.outbox = Outbox(world.folder / "outbox.db", SystemClock())
    world.put(3)
    world.outbox.flush()
    world.start()
    world.wait_empty()
    assert len({epoch for epoch, _ in world.central.received}) == 2
    assert len(world.central.received) == 6


@pytest.mark.parametrize(
    "make",
    [
        lambda _epoch: b"not json",
        lambda _epoch: b"",
        lambda epoch: codec.encode(receipt(epoch, [1, 2], StationAddress(site="demo", line="line-1", station="st-9"))),
    ],
)
def test_receipt_that_is_not_ours_removes_nothing(world: World, make: Callable[[int], bytes]) -> None:
    world.central.is_answering = False
    reporter = world.start(resend_after_s=3600)
    world.put(2)
    wait_until(lambda: len(world.central.received) == 2)
    world.broker.route(RECEIPTS, make(world.outbox.epoch))
    wait_until(lambda: reporter.counters.bad_receipts == 1)
    assert world.outbox.row_count == 2


def test_receipt_for_a_huge_range_is_applied_without_counting_through_it(world: World) -> None:
    world.central.is_answering = False
    reporter = world.start(resend_after_s=3600)
    world.put(5)
    wait_until(lambda: len(world.central.received) == 5)
    huge = receipt(world.outbox.epoch, [1]).model_dump_json().replace('"last":1', f'"last":{2**53}')
    world.broker.route(RECEIPTS, huge.encode())
    world.wait_empty()
    assert reporter.in_flight == 0


def test_stored_row_that_cannot_be_read_is_set_aside_and_the_rest_goes(world: World) -> None:
    world.put(3)
    world.outbox.flush()
    world.outbox._file._writer.execute("UPDATE report SET body = ? WHERE sequence = 2", (b"{}",))
    world.start()
    world.wait_empty()
    assert {sequence for _, sequence in world.central.received} == {1, 3}
    assert [fault.code for fault in world.outbox.faults()] == ["outbox-unreadable"]


def test_report_that_this_process_wrote_is_sent_as_it_stands_and_any_other_is_read_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    real = InspectionReported.model_validate_json

    def reading(body: bytes) -> InspectionReported:
        read.append(body)
        return real(body)

    monkeypatch.setattr("edge_agent.reporting.reporter.InspectionReported.model_validate_json", reading)
    world.put(3)
    world.outbox.flush()
    other = codec.encode(report(2, trigger_number=77)).replace(b"{", b'{"unknown": 1, ', 1)
    world.outbox._file._writer.execute("UPDATE report SET body = ? WHERE sequence = 2", (other,))
    world.start()
    world.wait_empty()
    assert set(read) == {other}
    assert {sequence for _, sequence in world.central.received} == {1, 2, 3}


def test_reports_of_an_earlier_process_are_read_before_they_are_sent(world: World) -> None:
    world.put(2)
    world.outbox.flush()
    rows = world.outbox.committed_after(0, 10)
    assert [world.outbox.is_as_written(row) for row in rows] == [True, True]
    world.outbox.close()
    world.outbox = Outbox(world.folder / "outbox.db", SystemClock())
    world.put(2)
    world.outbox.flush()
    assert [world.outbox.is_as_written(row) for row in world.outbox.committed_after(0, 10)] == [
        False,
        False,
        True,
        True,
    ]
    damaged = rows[0]._replace(epoch=world.outbox.epoch, body=rows[0].body[:-1] + b" ")
    assert not world.outbox.is_as_written(damaged)


def test_only_the_newest_reports_are_known_by_heart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.reporting.outbox._KNOWN_REPORTS", 2)
    world.put(5)
    world.outbox.flush()
    known = [world.outbox.is_as_written(row) for row in world.outbox.committed_after(0, 10)]
    assert known == [False, False, False, True, True]


def test_reporter_waits_for_a_bus_that_takes_nothing(world: World) -> None:
    reporter = world.start()
    world.broker.go_down()
    world.put(20)
    world.outbox.flush()
    assert reporter.in_flight == 0
    world.broker.come_up()
    world.wait_empty()
