# SPDX-License-Identifier: Apache-2.0
import pytest
from sqlmodel import Session

from central.audit_settings import AuditSettings
from central.quality.sampling import FLOOR_SHARE
from central.services.alarms.rows import Signal, raise_alarm
from central.services.audits.auditing import _Accepted
from central.services.audits.shifts import MOST_AUDITS_A_STRATUM
from central.store.repositories.reports import StationReports, store_batch
from contracts.vocabulary import AlarmKind, AuditState, Judgement, Verdict
from tests.central.conftest import make_report
from tests.central.services.bench import EPOCH, PRODUCT, Bench

OK, NG = Verdict.OK, Verdict.NG


def a_station(bench: Bench, name: str = "st-1") -> None:
    station = bench.add_station(name)
    station.running = {PRODUCT: "a" * 64}


def test_only_accepted_parts_are_drawn_with_their_chance_written_down(bench: Bench) -> None:
    a_station(bench)
    (station,) = bench.stations.values()
    bench.build(audit=AuditSettings(rejected_share=0.0))
    accepted = set(bench.report(station, [OK] * 40))
    bench.report(station, [NG] * 40 + [Verdict.REVIEW] * 10 + [Verdict.NO_DECISION] * 10)
    assert bench.auditing.draw(bench.clock.now()) == 2
    for audit in bench.audit_rows():
        assert audit.inspection_id in accepted
        assert audit.inclusion_probability == pytest.approx(2 / 40)
        assert audit.stratum_size == 40
        assert audit.is_simulated


def test_a_share_of_the_draw_goes_to_high_scores_and_is_marked(bench: Bench) -> None:
    """Equal chance drew at least four fifths; what was drawn for its risk alone is no part of the floor."""
    a_station(bench)
    (station,) = bench.stations.values()
    bench.build(audit=AuditSettings(accepted_share=0.1))
    for number in range(600):
        bench.report(station, [OK], score=number / 1_000)
    assert bench.auditing.draw(bench.clock.now()) == 60
    rows = bench.audit_rows()
    scores = {audit.inspection_id: audit.inclusion_probability for audit in rows}
    assert max(scores.values()) > 5 * min(scores.values())
    assert min(scores.values()) >= FLOOR_SHARE * 0.1 - 1e-12
    on_floor = [audit for audit in rows if audit.is_floor]
    assert 36 <= len(on_floor) < 60
    # Highest chances: the newest parts here, since the score rises.
    newest = [audit for audit in rows if audit.inclusion_probability > 0.3]
    assert any(not audit.is_floor for audit in newest)


def test_each_part_is_drawn_from_once(bench: Bench) -> None:
    a_station(bench)
    (station,) = bench.stations.values()
    bench.report(station, [OK] * 20)
    assert bench.auditing.draw(bench.clock.now()) == 1
    assert bench.auditing.draw(bench.clock.now()) == 0
    bench.build()
    assert bench.auditing.draw(bench.clock.now()) == 0
    bench.report(station, [OK])
    assert bench.auditing.draw(bench.clock.now()) == 1


def test_a_part_stored_in_the_middle_of_a_draw_is_drawn_from_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under READ COMMITTED each question sees what was committed meanwhile."""
    a_station(bench)
    (station,) = bench.stations.values()
    bench.build(audit=AuditSettings(accepted_share=1.0))
    bench.report(station, [OK] * 5)
    ask = bench.auditing._accepted_between

    def ask_after_one_more(session: Session, after_id: int, through_id: int) -> list[_Accepted]:
        late = make_report(station.sequence + 1, package_id="a" * 64)
        store_batch(session, [StationReports(station.address, EPOCH, [late])], [], bench.clock.now())
        return ask(session, after_id, through_id)

    with monkeypatch.context() as patched:
        patched.setattr(bench.auditing, "_accepted_between", ask_after_one_more)
        assert bench.auditing.draw(bench.clock.now()) == 5
    assert bench.auditing.draw(bench.clock.now()) == 1
    assert len({audit.inspection_id for audit in bench.audit_rows()}) == 6


def test_each_station_and_product_has_its_own_draw(bench: Bench) -> None:
    a_station(bench, "st-1")
    a_station(bench, "st-2")
    first, second = bench.stations.values()
    bench.report(first, [OK] * 20)
    bench.report(first, [OK] * 20, product="board")
    bench.report(second, [OK] * 3)
    assert bench.auditing.draw(bench.clock.now()) == 3
    assert len({audit.stratum for audit in bench.audit_rows()}) == 3


def test_an_open_escapes_alarm_tightens_the_audit_of_its_product_only(bench: Bench) -> None:
    a_station(bench)
    (station,) = bench.stations.values()
    with bench.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "made up", "none", is_simulated=True, product=PRODUCT)
        raise_alarm(session, signal, bench.clock.now())
    bench.report(station, [OK] * 40)
    bench.report(station, [OK] * 40, product="board")
    assert bench.auditing.draw(bench.clock.now()) == 10 + 2


def test_a_draw_never_asks_for_more_than_people_can_judge(bench: Bench) -> None:
    a_station(bench)
    (station,) = bench.stations.values()
    bench.build(audit=AuditSettings(accepted_share=1.0))
    bench.report(station, [OK] * (MOST_AUDITS_A_STRATUM + 50))
    assert bench.auditing.draw(bench.clock.now()) == MOST_AUDITS_A_STRATUM


def test_a_draw_waits_for_its_period(bench: Bench) -> None:
    a_station(bench)
    (station,) = bench.stations.values()
    bench.report(station, [OK] * 40)
    bench.auditing.tick(bench.clock.now())
    assert bench.audit_rows() == []
    bench.later(seconds=31)
    bench.auditing.tick(bench.clock.now())
    assert len(bench.audit_rows()) == 2


def test_pictures_are_asked_for_until_they_come_or_count_as_lost(bench: Bench) -> None:
    a_station(bench)
    (station,) = bench.stations.values()
    bench.report(station, [OK] * 10)
    bench.auditing.draw(bench.clock.now())
    bench.auditing.tick(bench.clock.now())
    (first,) = bench.requested()
    bench.auditing.tick(bench.clock.now())
    assert bench.requested() == [first]
    bench.later(seconds=31)
    bench.auditing.tick(bench.clock.now())
    assert bench.requested() == [first, first]
    bench.later(seconds=100)
    bench.auditing.tick(bench.clock.now())
    assert [audit.state for audit in bench.audit_rows()] == [AuditState.LOST]
    assert bench.requested() == [first, first]


def test_a_request_that_the_broker_did_not_take_is_sent_again(bench: Bench) -> None:
    a_station(bench)
    (station,) = bench.stations.values()
    bench.report(station, [OK] * 10)
    bench.auditing.draw(bench.clock.now())
    bench.publisher.is_full = True
    bench.auditing.tick(bench.clock.now())
    bench.publisher.is_full = False
    bench.auditing.tick(bench.clock.now())
    assert len(bench.requested()) == 1


def test_an_unsure_judgement_is_no_label_and_no_outcome(bench: Bench) -> None:
    bench.commission("st-1")
    (station,) = bench.stations.values()
    bench.audit(bench.report(station, [OK] * 30), Judgement.UNSURE)
    bench.tick(2)
    assert bench.alarms() == []
