# SPDX-License-Identifier: Apache-2.0
"""Rejected parts are drawn for audit by their own budget, beside the accepted ones and never among them."""

from collections import Counter

import pytest

from central.audit_settings import AuditSettings
from central.services.audits import auditing
from central.store.repositories import audits
from central.store.tables import Inspection
from contracts.vocabulary import AuditState, Judgement, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation

OK, NG, REVIEW = Verdict.OK, Verdict.NG, Verdict.REVIEW


@pytest.fixture(name="station")
def _station(bench: Bench) -> FakeStation:
    station = bench.add_station("st-1")
    station.running = {PRODUCT: "a" * 64}
    return station


def drawn_by_verdict(bench: Bench) -> Counter[Verdict]:
    with bench.database.read() as session:
        return Counter(session.get_one(Inspection, audit.inspection_id).verdict for audit in bench.audit_rows())


def test_rejects_and_reviews_are_strata_of_their_own(bench: Bench, station: FakeStation) -> None:
    bench.build(audit=AuditSettings(rejected_share=0.1))
    bench.report(station, [OK] * 40 + [NG] * 40 + [REVIEW] * 20 + [Verdict.NO_DECISION] * 20)
    assert bench.auditing.draw(bench.clock.now()) == 2 + 4 + 2
    assert drawn_by_verdict(bench) == {OK: 2, NG: 4, REVIEW: 2}
    with bench.database.read() as session:
        for audit in bench.audit_rows():
            verdict = session.get_one(Inspection, audit.inspection_id).verdict
            size, chance = {OK: (40, 2 / 40), NG: (40, 0.1), REVIEW: (20, 0.1)}[verdict]
            assert (audit.stratum_size, audit.is_floor) == (size, True)
            assert audit.inclusion_probability == pytest.approx(chance)
    assert len({audit.stratum for audit in bench.audit_rows()}) == 3


def test_a_rejected_part_is_drawn_from_once(bench: Bench, station: FakeStation) -> None:
    bench.build(audit=AuditSettings(rejected_share=1.0))
    bench.report(station, [NG] * 6)
    assert bench.auditing.draw(bench.clock.now()) == 6
    bench.build(audit=AuditSettings(rejected_share=1.0))
    assert bench.auditing.draw(bench.clock.now()) == 0


def test_few_rejects_a_draw_keep_their_chance(bench: Bench, station: FakeStation) -> None:
    """Of 3 rejects a tenth: mostly none is drawn, and who is drawn had a chance of a tenth all the same."""
    bench.build(audit=AuditSettings(rejected_share=0.1))
    drawn = 0
    for _ in range(200):
        bench.report(station, [NG] * 3)
        drawn += bench.auditing.draw(bench.clock.now())
    # 60 are expected; each draw is one of probability .3, so four standard deviations are 26.
    assert 34 <= drawn <= 86
    assert {round(audit.inclusion_probability, 12) for audit in bench.audit_rows()} == {0.1}


def test_rejects_of_a_bad_hour_do_not_flood_the_queue(bench: Bench, station: FakeStation) -> None:
    bench.build(audit=AuditSettings(rejected_share=0.5, rejected_most=7))
    bench.report(station, [NG] * 70)
    assert bench.auditing.draw(bench.clock.now()) == 7
    assert {audit.inclusion_probability for audit in bench.audit_rows()} == {7 / 70}


def test_a_draw_that_was_cut_short_passes_by_no_reject(
    bench: Bench, station: FakeStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "MOST_PARTS_A_DRAW", 10)
    bench.build(audit=AuditSettings(accepted_share=1.0, rejected_share=1.0))
    bench.report(station, [NG] * 15 + [OK] * 15)
    drawn = [bench.auditing.draw(bench.clock.now()) for _ in range(5)]
    assert sum(drawn) == 30
    assert max(drawn) <= 20
    assert len({audit.inspection_id for audit in bench.audit_rows()}) == 30


def test_defective_rejects_call_for_no_training(bench: Bench, station: FakeStation) -> None:
    """They train, but the detector finds them: only defects that it passed make a training sensible."""
    from central.services.trainings.jobs import judged_since  # noqa: PLC0415 - used here alone

    bench.build(audit=AuditSettings(accepted_share=1.0, rejected_share=1.0))
    bench.report(station, [NG] * 4 + [OK] * 3)
    bench.auditing.draw(bench.clock.now())
    with bench.database.begin() as session:
        for number, row in enumerate(bench.audit_rows()):
            audit = session.get_one(type(row), row.id)
            audit.state, audit.crop_sha256 = AuditState.OPEN, f"{number:064x}"
            session.add(audit)
            session.flush()
            audits.judge(
                session,
                row.number,
                Judgement.DEFECTIVE,
                defect_class=None,
                inspector="ann",
                note="",
                now=bench.clock.now(),
                confirms=False,
            )
        assert judged_since(session, PRODUCT, None, is_simulated=True) == 3
