# SPDX-License-Identifier: Apache-2.0
"""Verdicts of challengers in the database, and what the gates of a rollout are told of them."""

import random
from collections.abc import Sequence
from datetime import timedelta

import pytest

from central.domain.shadow import is_right
from central.store.database import Database
from central.store.repositories import audits, shadow
from central.store.repositories.reports import Poison, StationReports, store_batch
from central.store.repositories.shadow import Pairing
from central.store.tables import Audit
from contracts.reports import ChallengerVerdict, InspectionReported, is_discordant
from contracts.vocabulary import AuditState, Judgement, Verdict
from tests.central.conftest import PACKAGE, START, STATION, make_report

OK, NG, REVIEW, NONE = Verdict.OK, Verdict.NG, Verdict.REVIEW, Verdict.NO_DECISION
GOOD, DEFECTIVE, UNSURE = Judgement.GOOD, Judgement.DEFECTIVE, Judgement.UNSURE
CHALLENGER = "b" * 64
EPOCH = 1_700_000_000_000


def said(sequence: int, verdict: Verdict = OK, package_id: str = CHALLENGER) -> ChallengerVerdict:
    score = None if verdict is NONE else 0.5
    return ChallengerVerdict(
        sequence=sequence,
        package_id=package_id,
        verdict=verdict,
        score=score,
        infer_ms=float(sequence),
        champion_infer_ms=7.5,
    )


def pairs(verdicts: Sequence[tuple[Verdict, Verdict]]) -> list[InspectionReported]:
    """Reports 1 … n of a champion; the challenger's word on each rides on the one after it, as a station sends it."""
    reports = [make_report(number, champion) for number, (champion, _) in enumerate(verdicts, start=1)]
    reports.append(make_report(len(reports) + 1))
    return [
        report if index == 0 else report.model_copy(update={"challenger": said(index, verdicts[index - 1][1])})
        for index, report in enumerate(reports)
    ]


def store(database: Database, *messages: Sequence[InspectionReported]) -> None:
    with database.begin() as session:
        store_batch(session, [StationReports(STATION, EPOCH, reports) for reports in messages], [], START)


def judge(database: Database, inspection_id: int, judgement: Judgement, seconds: float = 0.0) -> None:
    with database.begin() as session:
        audit = Audit(
            inspection_id=inspection_id,
            product="ring",
            drawn_at=START,
            inclusion_probability=0.0,
            state=AuditState.JUDGED,
            judgement=judgement,
            judged_at=START + timedelta(seconds=seconds),
            outcome=judgement,
            settled_at=START + timedelta(seconds=seconds),
            is_discordant=True,
            is_simulated=True,
        )
        session.add(audit)


@pytest.mark.parametrize(
    ("champion", "challenger", "differ"),
    [(OK, OK, False), (OK, NG, True), (REVIEW, OK, True), (NG, REVIEW, False), (NONE, OK, False), (NG, NONE, False)],
)
def test_discordant_is_one_that_would_pass_and_one_that_would_not(
    champion: Verdict, challenger: Verdict, differ: bool
) -> None:
    assert is_discordant(champion, challenger) is differ


@pytest.mark.parametrize(
    ("verdict", "judgement", "right"),
    [
        (OK, GOOD, True),
        (OK, DEFECTIVE, False),
        (NG, GOOD, False),
        (NG, DEFECTIVE, True),
        (REVIEW, DEFECTIVE, True),
        (REVIEW, GOOD, False),
        (OK, UNSURE, None),
        (NONE, GOOD, None),
    ],
)
def test_who_is_right_follows_from_what_people_said(verdict: Verdict, judgement: Judgement, right: bool | None) -> None:
    assert is_right(verdict, judgement) is right


def test_a_verdict_that_comes_twice_counts_once_and_the_first_stands(database: Database) -> None:
    reports = pairs([(OK, NG)])
    store(database, reports, reports)
    store(database, reports)
    changed = [reports[0], reports[1].model_copy(update={"challenger": said(1, OK)})]
    store(database, changed)
    with database.read() as session:
        (counts,) = shadow.counts(session)
    assert (counts.concordant, counts.discordant) == (0, 1)


def test_a_verdict_may_come_before_the_inspection_that_it_is_of(database: Database) -> None:
    first, second = pairs([(OK, NG)])
    store(database, [second])
    with database.read() as session:
        assert shadow.counts(session) == []
    store(database, [first])
    with database.read() as session:
        assert [pair.champion_verdict for pair in shadow.pairs_after(session, Pairing(CHALLENGER), 0)] == [OK]


def test_counts_tell_concordant_discordant_errors_and_who_was_right(database: Database) -> None:
    store(database, pairs([(OK, OK), (OK, NG), (NG, OK), (OK, REVIEW), (NG, REVIEW), (OK, NONE), (NONE, OK)]))
    with database.read() as session:
        ids = {pair.challenger_ms: pair.inspection_id for pair in shadow.pairs_after(session, Pairing(CHALLENGER), 0)}
    judge(database, ids[2.0], DEFECTIVE)
    judge(database, ids[3.0], DEFECTIVE)
    judge(database, ids[4.0], UNSURE)
    with database.read() as session:
        (counts,) = shadow.counts(session, CHALLENGER)
        assert shadow.counts(session, PACKAGE) == []
        assert shadow.counts(session, since=START + timedelta(seconds=1)) == []
    assert (counts.station, counts.champion, counts.challenger) == (str(STATION), PACKAGE, CHALLENGER)
    assert (counts.concordant, counts.discordant, counts.errors) == (2, 3, 1)
    assert (counts.challenger_right, counts.challenger_wrong) == (1, 1)
    assert counts.is_simulated
    assert counts.first_at == START


def test_pairs_come_in_commit_order_and_none_twice(database: Database) -> None:
    store(database, pairs([(OK, OK)] * 5))
    wanted = Pairing(CHALLENGER, champion=PACKAGE, station=str(STATION), is_simulated=True)
    with database.read() as session:
        first = shadow.pairs_after(session, wanted, 0, limit=3)
        rest = shadow.pairs_after(session, wanted, first[-1].id)
        assert shadow.pairs_after(session, Pairing(CHALLENGER, station="plant/line-1/other"), 0) == []
        assert shadow.pairs_after(session, Pairing(CHALLENGER, is_simulated=False), 0) == []
    assert [pair.challenger_ms for pair in (*first, *rest)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    # Of the shadow, not the 5 ms that its inspection took on the line.
    assert {pair.champion_ms for pair in first} == {7.5}
    assert {pair.difference for pair in first} == {0}


def test_judged_discordant_pairs_come_in_the_order_of_their_judgement(database: Database) -> None:
    store(database, pairs([(OK, NG), (NG, OK), (OK, NG), (OK, OK)]))
    with database.read() as session:
        ids = [pair.inspection_id for pair in shadow.pairs_after(session, Pairing(CHALLENGER), 0)]
    judge(database, ids[2], DEFECTIVE, 1)
    judge(database, ids[0], GOOD, 2)
    judge(database, ids[1], UNSURE, 3)
    judge(database, ids[3], GOOD, 4)
    with database.read() as session:
        found = shadow.judged_discordant(session, Pairing(CHALLENGER))
        later = shadow.judged_discordant(session, Pairing(CHALLENGER), judged_after=START + timedelta(seconds=1))
        open_ones = [pair.difference for pair in shadow.pairs_after(session, Pairing(CHALLENGER), 0)]
    assert [(pair.inspection_id, pair.is_challenger_right, pair.difference) for pair in found] == [
        (ids[2], True, 1),
        (ids[0], False, -1),
    ]
    assert [pair.inspection_id for pair in later] == [ids[0]]
    assert open_ones == [-1, None, 1, 0]


def test_a_challenger_that_is_poison_costs_its_verdict_and_no_other(database: Database) -> None:
    reports = pairs([(OK, NG), (OK, OK)])
    with database.begin() as session:
        poison = [Poison("topic", b"{}", "unreadable")]
        store_batch(session, [StationReports(STATION, EPOCH, reports)], poison, START)
    with database.read() as session:
        assert len(shadow.pairs_after(session, Pairing(CHALLENGER), 0)) == 2


def test_verdicts_go_with_their_inspections(database: Database) -> None:
    store(database, pairs([(OK, NG), (OK, OK)]))
    with database.begin() as session:
        first, second = (pair.inspection_id for pair in shadow.pairs_after(session, Pairing(CHALLENGER), 0))
        shadow.drop_of(session, [first])
        assert [pair.inspection_id for pair in shadow.pairs_after(session, Pairing(CHALLENGER), 0)] == [second]


def test_discordant_audits_are_given_out_first_and_by_chance(database: Database) -> None:
    store(database, [make_report(number) for number in range(1, 21)])
    with database.begin() as session:
        for number in range(1, 21):
            session.add(
                Audit(
                    inspection_id=number,
                    product="ring",
                    drawn_at=START,
                    inclusion_probability=0.5,
                    state=AuditState.OPEN,
                    is_discordant=number > 10,
                    is_simulated=True,
                )
            )
    orders = []
    for seed in (1, 2):
        with database.begin() as session:
            rng = random.Random(seed)
            given = [audits.claim_next(session, f"inspector-{n}", START, 60, rng) for n in range(20)]
            orders.append([entry.inspection.id for entry in given if entry is not None])
            session.rollback()
    for order in orders:
        assert len(order) == 20
        assert {number > 10 for number in order[:10] if number is not None} == {True}
        assert order[:10] != sorted(order[:10], key=lambda number: number or 0)
    assert orders[0] != orders[1]
