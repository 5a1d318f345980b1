# SPDX-License-Identifier: Apache-2.0
"""Parts that are asked for, on real rows: beside the random audit, within their budget, and in no rate."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select

from central.audit_settings import AuditSettings
from central.domain.datasets import LabelRecord
from central.services.audits.asked import _seen_embedded
from central.services.audits.repeated import plant
from central.services.trainings.datasets import records_of
from central.services.watches.watching import escape_evidence
from central.store.learning_tables import Champion
from central.store.repositories import audits, causes, hint_rows, quality, quality_cells, repeats, shift_counts
from central.store.repositories.quality import Scope
from central.store.repositories.reports import StationReports, store_batch
from central.store.tables import Audit, LabelledPicture
from contracts.reports import ChallengerVerdict, ImageMeasures
from contracts.vocabulary import AuditState, Judgement, LabelSource, PartUse, Verdict
from tests.central.conftest import START, make_report
from tests.central.services.bench import EPOCH, PRODUCT, Bench, FakeStation

OK, NG = Verdict.OK, Verdict.NG
CHAMPION, CHALLENGER = "a" * 64, "b" * 64
# No chance draw of note beside it: what is tested is what is asked for.
FEW = 0.001


def settings(**changes: object) -> AuditSettings:
    return AuditSettings(**{"accepted_share": FEW, "asked_per_shift": 24, "asked_open": 24, **changes})  # type: ignore[arg-type]


def a_station(bench: Bench) -> FakeStation:
    station = bench.add_station("st-1")
    station.running = {PRODUCT: CHAMPION}
    return station


def report(
    bench: Bench,
    station: FakeStation,
    scores: list[float],
    *,
    others: list[float] | None = None,
    challenger: Verdict = OK,
    part_id: str | None = None,
    embeddings: list[list[float]] | None = None,
) -> None:
    """Accepted parts of different light, with a challenger's word where `others` are given."""
    rng = random.Random(station.sequence)
    made = []
    for place, score in enumerate(scores):
        station.sequence += 1
        said = None
        if others is not None:
            said = ChallengerVerdict(
                sequence=station.sequence, package_id=CHALLENGER, verdict=challenger, score=others[place], infer_ms=1.0
            )
        image = ImageMeasures(
            brightness=rng.uniform(80, 160), contrast=rng.uniform(10, 40), blur=rng.uniform(100, 900), colour=2.0
        )
        verdict = OK if score < 0.5 else NG
        made.append(
            make_report(
                station.sequence, verdict, score=score, image=image, package_id=CHAMPION, challenger=said,
                part_id=part_id or f"part-{station.sequence}",
                embedding=None if embeddings is None else embeddings[place],
            )
        )  # fmt: skip
    with bench.database.begin() as session:
        store_batch(session, [StationReports(station.address, EPOCH, made)], [], bench.clock.now())


def ask(bench: Bench) -> int:
    bench.auditing.draw(bench.clock.now())
    return bench.auditing.draw_asked(bench.clock.now())


def asked(bench: Bench) -> list[Audit]:
    return [audit for audit in bench.audit_rows() if audit.asked_because is not None]


def score_of(bench: Bench, audit: Audit) -> float:
    with bench.database.read() as session:
        return audits.entry(session, audit.number).inspection.score or 0.0


def late_in_shift(bench: Bench) -> None:
    """So late that the whole budget is due."""
    bench.clock.at = datetime(2026, 3, 1, 13, 59, tzinfo=UTC)


def judge_all(bench: Bench, judgement: Judgement = Judgement.DEFECTIVE) -> None:
    """Two inspectors, on everything asked for."""
    with bench.database.begin() as session:
        for audit in session.exec(select(Audit).where(col(Audit.asked_because).is_not(None))).all():
            audit.state, audit.crop_sha256 = AuditState.OPEN, f"{audit.id:064d}"
            session.add(audit)
    for inspector in ("anna", "bert"):
        for audit in asked(bench):
            if audit.state is AuditState.OPEN and audit.inspector is None and audit.outcome is None:
                with bench.database.begin() as session:
                    audits.judge(
                        session, audit.number, judgement, defect_class="crack", inspector=inspector, note="",
                        now=bench.clock.now(),
                    )  # fmt: skip


def test_parts_near_the_limit_are_asked_for_and_their_pictures_fetched(any_bench: Bench) -> None:
    bench = any_bench
    station = a_station(bench)
    bench.build(audit=settings(asked_per_shift=8))
    late_in_shift(bench)
    report(bench, station, [0.001 * number for number in range(400)] + [0.499, 0.498, 0.497, 0.502])
    assert ask(bench) == 8
    rows = asked(bench)
    assert {(row.inclusion_probability, row.is_floor, row.shift_id, row.state) for row in rows} == {
        (0.0, False, None, AuditState.AWAITING_EVIDENCE)
    }
    near = [row for row in rows if row.asked_because == "UNCERTAIN"]
    # No challenger: its quarter went to the others, and the rest is for what looks new.
    assert Counter(row.asked_because for row in rows) == {"UNCERTAIN": 5, "NOVEL": 3}
    assert min(score_of(bench, row) for row in near) > 0.37
    bench.auditing.tick(bench.clock.now())
    assert len(bench.requested()) >= 8


@pytest.mark.parametrize("embedded", [1.0, 0.4], ids=["most are embedded", "few are embedded"])
def test_parts_that_their_package_embeds_far_away_are_asked_for(bench: Bench, embedded: float) -> None:
    station = a_station(bench)
    bench.build(audit=settings(asked_per_shift=8))
    late_in_shift(bench)
    rng = random.Random(7)
    for number in range(100):
        # The first four look like no other, whatever the light, and lie farthest from the limit.
        far = 9.0 if number < 4 else 0.0
        where = [rng.gauss(far, 1.0) for _ in range(4)]
        has_one = number < 4 or rng.random() < embedded
        report(bench, station, [0.001 * number], embeddings=[where] if has_one else None)
    assert ask(bench) == 8
    novel = {round(score_of(bench, row), 3) for row in asked(bench) if row.asked_because == "NOVEL"}
    is_seen = len(novel & {0.0, 0.001, 0.002, 0.003}) >= 2
    assert is_seen is (embedded == 1.0)


def test_embeddings_of_another_package_are_no_measure_of_what_is_new(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings(asked_per_shift=8))
    late_in_shift(bench)
    rng = random.Random(7)
    report(bench, station, [0.1] * 40, embeddings=[[rng.gauss(50, 1)] * 4 for _ in range(40)])
    assert ask(bench) == 8
    station.running = {PRODUCT: CHALLENGER}
    with bench.database.read() as session:
        other = _seen_embedded(session, PRODUCT, CHALLENGER, is_simulated=True)
        mine = _seen_embedded(session, PRODUCT, CHAMPION, is_simulated=True)
    assert other == []
    assert len(mine) >= 8
    assert all(each is not None for each in mine)


def test_what_champion_and_challenger_rank_differently_is_asked_for_unless_their_verdicts_differ(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings(asked_per_shift=4))
    late_in_shift(bench)
    scores = [0.001 * number for number in range(200)]
    others = list(scores)
    others[3], others[4] = 0.45, 0.46
    report(bench, station, scores, others=others)
    assert ask(bench) == 4
    disputed = [row for row in asked(bench) if row.asked_because == "DISAGREEMENT"]
    assert [round(score_of(bench, row), 3) in (0.003, 0.004) for row in disputed] == [True]


def test_parts_on_which_verdicts_differ_are_left_to_chance(bench: Bench) -> None:
    """The gates of a rollout rest on labels of disputed parts that chance drew."""
    station = a_station(bench)
    bench.build(audit=settings(discordant_open=1))
    late_in_shift(bench)
    report(bench, station, [0.49] * 50, others=[0.6] * 50, challenger=NG)
    assert ask(bench) == 0
    assert bench.auditing.draw_discordant(bench.clock.now()) == 1


def test_the_random_draw_is_the_same_with_and_without_asking(bench: Bench) -> None:
    station = a_station(bench)
    drawn = []
    for per_shift in (0, 24):
        bench.build(audit=settings(accepted_share=0.1, asked_per_shift=per_shift))
        late_in_shift(bench)
        first = station.sequence + 1
        report(bench, station, [0.4 + 0.0005 * number for number in range(150)])
        if per_shift:
            # Asked before the draw has passed by: nothing to choose from but what it has seen.
            before = bench.auditing.draw_asked(bench.clock.now())
            assert all(audit.inspection_id < first for audit in asked(bench)), before
        ask(bench)
        rows = [row for row in bench.audit_rows() if row.asked_because is None and row.inspection_id >= first]
        drawn.append([(row.inspection_id - first, row.inclusion_probability) for row in rows])
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 15
    assert len(asked(bench)) == 24


def test_a_budget_a_shift_is_spread_over_its_time_and_the_next_begins_anew(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings(asked_per_shift=8, asked_open=100))
    counts = []
    # A shift of eight hours, 06:00 to 14:00.
    for hour in range(6, 15):
        bench.clock.at = datetime(2026, 3, 1, hour, 30, tzinfo=UTC)
        report(bench, station, [0.3 + 0.001 * number for number in range(100)])
        counts.append(ask(bench))
    assert counts == [1] * 8 + [1]
    bench.clock.at = datetime(2026, 3, 1, 13, 45, tzinfo=UTC)
    assert ask(bench) == 0


def test_no_more_wait_than_people_can_be_asked(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings(asked_open=5))
    late_in_shift(bench)
    report(bench, station, [0.001 * number for number in range(300)])
    assert [ask(bench), ask(bench)] == [5, 0]


def test_no_part_is_asked_for_twice_by_any_of_its_pictures(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings())
    late_in_shift(bench)
    report(bench, station, [0.49] * 30, part_id="one-part")
    assert ask(bench) == 1
    judge_all(bench)
    report(bench, station, [0.49] * 30, part_id="one-part")
    assert ask(bench) == 0


def test_without_a_budget_nothing_is_asked_for(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=AuditSettings(accepted_share=FEW))
    late_in_shift(bench)
    report(bench, station, [0.49] * 50)
    assert ask(bench) == 0


def test_what_was_asked_for_is_in_no_rate_chart_alarm_hint_or_agreement(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings())
    late_in_shift(bench)
    report(bench, station, [0.001 * number for number in range(480)] + [0.6] * 20)
    ask(bench)
    assert len(asked(bench)) == 24
    judge_all(bench)
    by_chance = [row for row in bench.audit_rows() if row.asked_because is None]
    outcomes = [row.outcome for row in asked(bench) if row.ask == 1]
    assert outcomes == [Judgement.DEFECTIVE] * 24
    now = bench.clock.now()
    scope = Scope(START - timedelta(days=1), now + timedelta(days=1))
    key = (str(station.address), PRODUCT, True)
    with bench.database.read() as session:
        assert quality.judged_audits(session, scope) == []
        champion = Champion(product=PRODUCT, is_simulated=True, package_id=CHAMPION, since=START)
        assert escape_evidence(session, champion, now + timedelta(days=1)).parts == ()
        assert quality_cells.persons_words(session, scope) == []
        assert hint_rows.audited_scores(session, key, CHAMPION, scope.since, scope.until) == []
        assert causes.judged_parts(session, [PRODUCT], is_simulated=True, judged_from=scope.since) == []
        assert audits.count_by_judgement(session) == {}
        assert repeats.two_answers(session, scope.since) == []
        counted = shift_counts.audit_counts(session, scope)
        assert all(not held.judgements and not held.discordant for held in counted.values())
        assert sum(sum(held.states.values()) for held in counted.values()) == len(by_chance)
    with bench.database.begin() as session:
        often = AuditSettings(repeat_share=1.0, repeat_after_s=1.0)
        assert plant(session, often, bench.auditing._rng, 50, now + timedelta(hours=2)) == 0


def test_an_estimate_that_pooled_one_would_fail(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings())
    late_in_shift(bench)
    report(bench, station, [0.49] * 40)
    ask(bench)
    assert {row.inclusion_probability for row in asked(bench)} == {0.0}


def test_labels_are_marked_as_asked_for_and_need_two_inspectors(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings(asked_per_shift=2))
    late_in_shift(bench)
    report(bench, station, [0.4 + 0.001 * number for number in range(50)])
    ask(bench)
    judge_all(bench)
    with bench.database.read() as session:
        labels = session.exec(select(LabelledPicture)).all()
        records: list[LabelRecord] = records_of(
            session, labels, {f"part-{number}": PartUse.TRAIN for number in range(1, 60)}
        )
    assert [label.source for label in labels] == [LabelSource.ASKED] * 2
    for record in records:
        assert (record.source, record.inclusion_probability) == (LabelSource.ASKED, 0.0)
        assert (record.is_confirmed, record.labelled_by) == (True, ("anna", "bert"))


def test_audits_that_chance_drew_are_judged_first(bench: Bench) -> None:
    station = a_station(bench)
    bench.build(audit=settings(accepted_share=0.1))
    late_in_shift(bench)
    report(bench, station, [0.001 * number for number in range(100)])
    ask(bench)
    with bench.database.begin() as session:
        for audit in session.exec(select(Audit)).all():
            audit.state, audit.crop_sha256 = AuditState.OPEN, f"{audit.id:064d}"
            session.add(audit)
    order = []
    for _ in range(34):
        with bench.database.begin() as session:
            taken = audits.claim_next(session, "anna", bench.clock.now(), 60, random.Random(5))
            assert taken is not None
            order.append(taken.audit.asked_because)
            audits.judge(
                session, taken.audit.number, Judgement.GOOD, defect_class=None, inspector="anna", note="",
                now=bench.clock.now(),
            )  # fmt: skip
    assert order[:10] == [None] * 10
    assert None not in order[10:]
