# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select

from central.services import ingest
from central.settings import IngestSettings
from central.store.repositories import reports, stations
from central.store.tables import Inspection, RollupLatency, RollupMinute, Station
from contracts.ids import StationAddress
from contracts.vocabulary import Verdict
from tests.central.conftest import START, make_report
from tests.central.ingest.conftest import EPOCH, Bench


def test_report_that_comes_twice_is_stored_once_counted_once_and_receipted_twice(bench: Bench) -> None:
    bench.send([make_report(1), make_report(2)])
    bench.work()
    bench.send([make_report(2), make_report(3)])
    bench.work()
    assert bench.stored() == [1, 2, 3]
    assert bench.rollup_parts() == 3
    assert bench.receipted() == [1, 2, 2, 3]
    assert bench.service.counts.duplicates_ignored == 1
    assert bench.acknowledged == [0, 1]


def test_report_that_comes_twice_in_one_batch_counts_once(bench: Bench) -> None:
    bench.send([make_report(1), make_report(1)])
    bench.send([make_report(1)])
    bench.work()
    assert bench.stored() == [1]
    assert bench.rollup_parts() == 1
    assert bench.service.counts.duplicates_ignored == 2


def test_first_version_of_a_report_stands(bench: Bench) -> None:
    bench.send([make_report(1, Verdict.NG)])
    bench.work()
    bench.send([make_report(1, Verdict.OK)])
    bench.work()
    with bench.database.read() as session:
        assert session.exec(select(Inspection.verdict)).all() == [Verdict.NG]
        rollup = session.exec(select(RollupMinute)).one()
    assert (rollup.ok, rollup.ng) == (0, 1)


def test_order_of_arrival_does_not_matter(bench: Bench) -> None:
    for sequence in (5, 1, 4, 2, 3):
        bench.send([make_report(sequence)])
        bench.work()
    assert bench.stored() == [1, 2, 3, 4, 5]
    with bench.database.read() as session:
        assert stations.missing_sequences(session) == {1: (5, 0)}


def test_missing_sequences_are_counted_per_epoch_until_they_come(bench: Bench) -> None:
    bench.send([make_report(2), make_report(5)])
    bench.send([make_report(3)], epoch=EPOCH + 1)
    bench.work()
    with bench.database.read() as session:
        assert stations.missing_sequences(session) == {1: (3, 5)}
    bench.send([make_report(sequence) for sequence in (1, 3, 4)])
    bench.work()
    with bench.database.read() as session:
        assert stations.missing_sequences(session) == {1: (6, 2)}


def test_same_sequence_of_another_station_or_epoch_is_another_inspection(bench: Bench) -> None:
    other = StationAddress(site="plant", line="line-1", station="st-2")
    bench.send([make_report(1)])
    bench.send([make_report(1)], epoch=EPOCH + 1)
    bench.send([make_report(1)], station=other)
    bench.work()
    assert bench.stored() == [1, 1, 1]
    assert len({(receipt.station, receipt.epoch) for receipt in bench.receipts()}) == 3


def test_unknown_station_is_made_by_its_first_report(bench: Bench) -> None:
    bench.send([make_report(1)])
    bench.work()
    with bench.database.read() as session:
        station = session.exec(select(Station)).one()
    assert station.address == "plant/line-1/st-1"
    assert station.last_report_at == START
    assert station.is_simulated


def test_rollups_equal_the_rows_by_minute_product_package_and_kind(bench: Bench) -> None:
    verdicts = [Verdict.OK, Verdict.NG, Verdict.REVIEW, Verdict.NO_DECISION]
    made = [
        make_report(
            sequence,
            verdicts[sequence % 4],
            captured_at=START + timedelta(seconds=sequence * 7),
            product=["ring", "board", None][sequence % 3],
            is_simulated=sequence % 5 == 0,
        )
        for sequence in range(1, 200)
    ]
    for first in range(0, len(made), 23):
        # Overlapping on purpose: some come twice.
        bench.send(made[max(0, first - 5) : first + 23])
        bench.work()
    with bench.database.read() as session:
        rows = session.exec(select(Inspection)).all()
        rollups = session.exec(select(RollupMinute)).all()
        latency_parts = sum(session.exec(select(RollupLatency.parts)).all())
    counted: dict[tuple[object, ...], list[int]] = {}
    for row in rows:
        key = (row.captured_at.replace(second=0), row.product or "", row.package_id or "", row.is_simulated)
        counted.setdefault(key, [0, 0, 0, 0])[verdicts.index(row.verdict)] += 1
    assert counted == {
        (rollup.minute, rollup.product, rollup.package_id, rollup.is_simulated): [
            rollup.ok,
            rollup.ng,
            rollup.review,
            rollup.no_decision,
        ]
        for rollup in rollups
    }
    assert sum(rollup.late for rollup in rollups) == sum(row.verdict is Verdict.NO_DECISION for row in rows)
    assert latency_parts == len(rows) == 199


def test_nothing_is_acknowledged_or_receipted_before_the_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    store_batch = reports.store_batch

    def watching(*arguments: object) -> object:
        seen.append((len(bench.acknowledged), len(bench.publisher.sent)))
        return store_batch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "store_batch", watching)
    bench.send([make_report(1)])
    bench.work()
    assert seen == [(0, 0)]
    assert bench.acknowledged == [0]
    assert bench.receipted() == [1]


def test_database_that_is_away_costs_time_but_no_report(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([True, True, False])
    store_batch = reports.store_batch

    def flaky(session: Session, *arguments: object) -> object:
        stored = store_batch(session, *arguments)  # type: ignore[arg-type]
        if next(failures):
            raise OperationalError("COMMIT", {}, Exception("database or disk is full"))
        return stored

    monkeypatch.setattr(ingest, "store_batch", flaky)
    monkeypatch.setattr(ingest, "_RETRY_S", (0.001,))
    bench.send([make_report(1), make_report(2)])
    bench.work()
    assert bench.stored() == [1, 2]
    assert bench.rollup_parts() == 2
    assert bench.service.counts.database_retries == 2
    assert bench.receipted() == [1, 2]


def test_receipt_that_could_not_be_sent_is_given_when_the_report_comes_again(bench: Bench) -> None:
    bench.publisher.is_full = True
    bench.send([make_report(1)])
    bench.work()
    assert bench.service.counts.receipts_dropped == 1
    bench.publisher.is_full = False
    bench.send([make_report(1)])
    bench.work()
    assert bench.stored() == [1]
    assert bench.receipted() == [1]


def test_full_queue_holds_acknowledgements_back_until_there_is_room(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(IngestSettings(queue_messages=4, batch_wait_ms=1))
    for sequence in range(1, 7):
        bench.send([make_report(sequence)])
    assert bench.service.inbox.turned_away == 2
    assert bench.acknowledged == []
    bench.work()
    # The turned-away ones are acknowledged so that the broker's window opens, but have no receipt: they come again.
    assert sorted(bench.acknowledged) == [0, 1, 2, 3, 4, 5]
    assert bench.receipted() == [1, 2, 3, 4]


def test_queue_is_bounded_by_bytes_too(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(IngestSettings(queue_bytes=2_000, batch_wait_ms=1))
    for sequence in range(1, 11):
        bench.send([make_report(sequence)])
    assert bench.service.inbox.turned_away > 0
    bench.work()
    assert len(bench.stored()) + bench.service.inbox.turned_away == 10


def test_batch_is_cut_at_its_bound(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(IngestSettings(batch_rows=10, batch_wait_ms=1000))
    for sequence in range(1, 31):
        bench.send([make_report(sequence)])
    bench.work()
    assert bench.service.counts.batches == 3
