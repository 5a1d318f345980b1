# SPDX-License-Identifier: Apache-2.0
"""Parts that a challenger disagrees on go into the audit queue, and into no estimate."""

from collections.abc import Sequence

import numpy as np
import pytest
from sqlmodel import col, select

from central.audit_settings import AuditSettings
from central.quality.rates import escape_interval
from central.services.audits.shifts import MOST_AUDITS_A_STRATUM
from central.services.watches.watching import escape_evidence
from central.store.learning_tables import Champion
from central.store.repositories import audits, quality
from central.store.repositories.quality import Scope
from central.store.repositories.reports import StationReports, store_batch
from central.store.tables import Audit, LabelledPicture
from contracts.reports import ChallengerVerdict
from contracts.vocabulary import AuditState, Judgement, LabelSource, Verdict
from tests.central.conftest import START, make_report
from tests.central.services.bench import EPOCH, PRODUCT, Bench, FakeStation

OK, NG = Verdict.OK, Verdict.NG
CHAMPION, CHALLENGER = "a" * 64, "b" * 64


def a_station(bench: Bench) -> FakeStation:
    station = bench.add_station("st-1")
    station.running = {PRODUCT: CHAMPION}
    return station


def shadowed(bench: Bench, station: FakeStation, verdicts: Sequence[tuple[Verdict, Verdict]]) -> None:
    """Parts of a champion with a challenger's word on each."""
    reports = []
    for champion, challenger in verdicts:
        station.sequence += 1
        said = ChallengerVerdict(
            sequence=station.sequence, package_id=CHALLENGER, verdict=challenger, score=0.5, infer_ms=1.0
        )
        reports.append(make_report(station.sequence, champion, package_id=CHAMPION, challenger=said))
    with bench.database.begin() as session:
        store_batch(session, [StationReports(station.address, EPOCH, reports)], [], bench.clock.now())


def draw(bench: Bench) -> int:
    bench.auditing.draw(bench.clock.now())
    return bench.auditing.draw_discordant(bench.clock.now())


def discordant(bench: Bench) -> list[Audit]:
    return [audit for audit in bench.audit_rows() if audit.is_discordant]


def test_a_discordant_part_is_put_into_the_queue_once_and_its_picture_is_asked_for(bench: Bench) -> None:
    station = a_station(bench)
    shadowed(bench, station, [(OK, OK)] * 30 + [(NG, OK)])
    assert draw(bench) == 1
    assert draw(bench) == 0
    (audit,) = discordant(bench)
    assert (audit.state, audit.inclusion_probability, audit.stratum) == (
        AuditState.AWAITING_EVIDENCE,
        0.0,
        f"discordant:{CHALLENGER}",
    )
    bench.auditing.tick(bench.clock.now())
    assert ("st-1", 31) in bench.requested()


def test_what_the_random_draw_has_not_passed_by_waits_for_it(bench: Bench) -> None:
    station = a_station(bench)
    shadowed(bench, station, [(OK, NG)] * 5)
    assert bench.auditing.draw_discordant(bench.clock.now()) == 0
    assert draw(bench) == 4
    assert len(bench.audit_rows()) == 5


def test_the_random_draw_is_the_same_with_and_without_a_challenger(bench: Bench) -> None:
    """The machine's choice takes nothing out of the population, nor any part that chance drew."""
    station = a_station(bench)
    bench.build(audit=AuditSettings(accepted_share=0.2, discordant_open=1000))
    shadowed(bench, station, [(OK, NG if index % 4 == 0 else OK) for index in range(200)])
    draw(bench)
    drawn = [audit for audit in bench.audit_rows() if not audit.is_discordant]
    assert len(drawn) == 40 <= MOST_AUDITS_A_STRATUM
    assert {audit.inclusion_probability for audit in drawn} == {0.2}
    assert {audit.stratum_size for audit in drawn} == {200}
    # Some of those that chance drew are disputed too. They stay chance's, and wait their turn among the others.
    assert len(discordant(bench)) == 50 - sum((audit.inspection_id - 1) % 4 == 0 for audit in drawn)


def test_so_many_wait_at_once_and_so_many_are_drawn_in_all(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=AuditSettings(accepted_share=0.001, discordant_open=4, discordant_most=6))
    shadowed(bench, station, [(OK, NG)] * 50)
    assert draw(bench) == 4
    assert draw(bench) == 0
    with bench.database.begin() as session:
        for audit in session.exec(select(Audit).where(col(Audit.is_discordant).is_(True))).all():
            audit.state = AuditState.JUDGED
            session.add(audit)
    assert draw(bench) == 2
    assert draw(bench) == 0


def test_which_of_many_are_drawn_is_chance(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=AuditSettings(accepted_share=0.001, discordant_open=10))
    shadowed(bench, station, [(OK, NG)] * 200)
    draw(bench)
    ids = [audit.inspection_id for audit in discordant(bench)]
    assert len(ids) == 10
    assert ids not in (list(range(1, 11)), list(range(191, 201)))


def test_judged_discordant_parts_are_in_no_rate_and_raise_no_alarm(bench: Bench) -> None:
    station = a_station(bench)
    shadowed(bench, station, [(OK, NG)] * 20 + [(NG, OK)] * 5 + [(OK, OK)] * 20)
    draw(bench)
    with bench.database.begin() as session:
        for audit in session.exec(select(Audit)).all():
            audit.state = AuditState.JUDGED
            audit.judgement = Judgement.DEFECTIVE if audit.is_discordant else Judgement.GOOD
            audit.outcome = audit.judgement
            audit.judged_at = audit.settled_at = bench.clock.now()
            session.add(audit)
    by_chance = [audit for audit in bench.audit_rows() if not audit.is_discordant]
    assert len(discordant(bench)) >= 18
    with bench.database.read() as session:
        judged = quality.judged_audits(session, Scope(START, bench.clock.now().replace(year=2030)))
        champion = Champion(product=PRODUCT, is_simulated=True, package_id=CHAMPION, since=START)
        evidence = escape_evidence(session, champion)
        said = audits.count_by_judgement(session)
    assert len(judged) == len(by_chance)
    assert not any(audit.is_defective for audit in judged)
    assert len(evidence.parts) == len(by_chance)
    assert said == {Judgement.GOOD: len(by_chance)}


def test_an_estimate_that_pooled_one_would_fail_and_not_be_wrong() -> None:
    with pytest.raises(ValueError, match="probabilities in"):
        escape_interval(np.array([True, False]), np.array([0.0, 0.5]), 10)


def test_label_of_a_discordant_part_is_what_the_machine_asked_for(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=AuditSettings(accepted_share=0.001))
    shadowed(bench, station, [(NG, OK)])
    draw(bench)
    (audit,) = discordant(bench)
    with bench.database.begin() as session:
        row = session.get_one(Audit, audit.id)
        row.state, row.crop_sha256 = AuditState.OPEN, "c" * 64
        session.add(row)
        session.flush()
        audits.judge(
            session, row.number, Judgement.GOOD, defect_class=None, inspector="ann", note="", now=bench.clock.now()
        )
    with bench.database.read() as session:
        assert session.exec(select(LabelledPicture.source)).all() == [LabelSource.REVIEW]
