# SPDX-License-Identifier: Apache-2.0
"""On real rows: audits say whether a shift is accepted, and that how severely the next parts are audited."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlmodel import col, select

from central.audit_settings import AuditSettings
from central.errors import ConflictError, NotFoundError
from central.quality.switching import Inspection
from central.services.alarms.rows import Signal, close, find_alarm, open_alarms, raise_alarm
from central.services.audits.shifts import MOST_AUDITS_A_STRATUM
from central.services.audits.switching import resume_shift
from central.store.audit_tables import AuditShift
from central.store.tables import Audit
from contracts.vocabulary import AlarmKind, AlarmState, AuditState, Judgement, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation

# Every part is audited under normal inspection; reduced is two fifths of them.
ALL = AuditSettings(accepted_share=1.0, tightened_share=1.0, reduced_share=0.4, rejected_share=0.0, repeat_share=0.0)
PARTS = 40
NORMAL, TIGHTENED, REDUCED = Inspection.NORMAL, Inspection.TIGHTENED, Inspection.REDUCED
SKIP_LOT, DISCONTINUED = Inspection.SKIP_LOT, Inspection.DISCONTINUED
# Of 40 audits at a tolerated share of 1 % at most two may be defective.
GOOD, BARELY, BAD = 0, 2, 3


@pytest.fixture(name="station")
def _station(bench: Bench) -> FakeStation:
    bench.build(audit=ALL)
    station = bench.add_station("st-1")
    station.running = {PRODUCT: "a" * 64}
    return station


def shifts(bench: Bench) -> list[AuditShift]:
    with bench.database.read() as session:
        return list(session.exec(select(AuditShift).order_by(col(AuditShift.id))).all())


def settle(bench: Bench, defective: int, state: AuditState = AuditState.JUDGED) -> None:
    """Judge what waits: so many defective, the others good."""
    with bench.database.begin() as session:
        waiting = session.exec(select(Audit).where(col(Audit.outcome).is_(None), Audit.state != AuditState.LOST)).all()
        for number, audit in enumerate(waiting):
            audit.state = state
            if state is AuditState.JUDGED:
                audit.judgement = audit.outcome = Judgement.DEFECTIVE if number < defective else Judgement.GOOD
                audit.judged_at = audit.settled_at = bench.clock.now()
            session.add(audit)


def run_shift(bench: Bench, station: FakeStation, defective: int = GOOD, parts: int = PARTS) -> AuditShift:
    """One shift: parts, a draw, judgements, its end. Gives the newest row after it was counted."""
    bench.report(station, [Verdict.OK] * parts)
    bench.auditing.draw(bench.clock.now())
    settle(bench, defective)
    bench.clock.at = shifts(bench)[-1].ends_at + timedelta(minutes=1)
    bench.switching.tick(bench.clock.now())
    return shifts(bench)[-1]


def test_a_shift_has_a_row_by_the_plants_clock_and_its_audits_belong_to_it(bench: Bench, station: FakeStation) -> None:
    bench.report(station, [Verdict.OK] * 10)
    bench.auditing.draw(bench.clock.now())
    bench.clock.at += timedelta(hours=2)
    bench.report(station, [Verdict.OK] * 5)
    bench.auditing.draw(bench.clock.now())
    (row,) = shifts(bench)
    assert (row.shift, row.inspection, row.product, row.is_simulated) == ("2026-03-01 06:00", NORMAL, PRODUCT, True)
    assert (row.begins_at.hour, row.ends_at.hour, row.accepted, row.drawn) == (6, 14, 15, 15)
    assert {audit.shift_id for audit in bench.audit_rows()} == {row.id}
    bench.clock.at = row.ends_at
    bench.report(station, [Verdict.OK])
    bench.auditing.draw(bench.clock.now())
    assert [each.shift for each in shifts(bench)] == ["2026-03-01 06:00", "2026-03-01 14:00"]
    assert shifts(bench)[1].expected == 15


def test_two_shifts_not_accepted_tighten_and_five_accepted_relax(bench: Bench, station: FakeStation) -> None:
    assert run_shift(bench, station, BAD).inspection is NORMAL
    row = run_shift(bench, station, BAD)
    assert row.inspection is TIGHTENED
    assert row.reason == "2 of the last 2 shifts not accepted, 3 of 40 audits of the shift 2026-03-01 14:00 defective"
    assert (row.audits, row.defective, row.is_accepted) == (40, 3, False)
    for _ in range(4):
        assert run_shift(bench, station, BARELY).inspection is TIGHTENED
    row = run_shift(bench, station, BARELY)
    assert (row.inspection, row.reason) == (NORMAL, "5 shifts in a row accepted while tightened")


def test_ten_good_shifts_reduce_ten_more_skip_and_a_bad_one_ends_it(bench: Bench, station: FakeStation) -> None:
    for _ in range(9):
        assert run_shift(bench, station).inspection is NORMAL
    assert run_shift(bench, station).inspection is REDUCED
    drawn = len(bench.audit_rows())
    run_shift(bench, station)
    assert len(bench.audit_rows()) - drawn == 0.4 * PARTS
    for _ in range(9):
        row = run_shift(bench, station)
    assert row.inspection is SKIP_LOT
    sizes = set()
    for _ in range(16):
        before = len(bench.audit_rows())
        assert run_shift(bench, station).inspection is SKIP_LOT
        sizes.add(len(bench.audit_rows()) - before)
    assert sizes == {4, 16}, "a tenth, and two fifths in one shift of four; none is left out wholly"
    assert run_shift(bench, station, BAD).inspection is NORMAL


def test_shifts_that_nobody_judges_earn_nothing_and_take_reduced_back(bench: Bench, station: FakeStation) -> None:
    for _ in range(10):
        run_shift(bench, station)
    assert shifts(bench)[-1].inspection is REDUCED
    bench.report(station, [Verdict.OK] * PARTS)
    bench.auditing.draw(bench.clock.now())
    settle(bench, 0, AuditState.LOST)
    bench.clock.at = shifts(bench)[-1].ends_at
    bench.switching.tick(bench.clock.now())
    row = shifts(bench)[-1]
    assert (row.inspection, row.audits, row.is_accepted) == (NORMAL, 0, None)
    assert "production not steady, 0 of 0" in row.reason


def test_a_shift_waits_for_its_audits_and_no_longer_than_allowed(bench: Bench, station: FakeStation) -> None:
    bench.report(station, [Verdict.OK] * PARTS)
    bench.auditing.draw(bench.clock.now())
    with bench.database.begin() as session:
        for audit in session.exec(select(Audit).limit(3)).all():
            # One inspector called them defective, nobody confirmed it.
            audit.state, audit.judgement, audit.judged_at = AuditState.JUDGED, Judgement.DEFECTIVE, bench.clock.now()
            session.add(audit)
    end = shifts(bench)[0].ends_at
    for at in (end, end + timedelta(seconds=ALL.shift_judged_after_s - 1)):
        bench.clock.at = at
        bench.switching.tick(at)
        assert shifts(bench)[0].counted_at is None
    bench.later(seconds=1)
    bench.switching.tick(bench.clock.now())
    row = shifts(bench)[0]
    assert (row.counted_at, row.audits, row.defective, row.is_accepted) == (bench.clock.now(), 3, 3, False)


def test_shifts_are_counted_in_their_order_whichever_is_judged_first(bench: Bench, station: FakeStation) -> None:
    bench.build(audit=replace(ALL, shift_judged_after_s=72 * 3600.0))
    for _ in range(2):
        bench.report(station, [Verdict.OK] * PARTS)
        bench.auditing.draw(bench.clock.now())
        bench.clock.at = shifts(bench)[-1].ends_at
    with bench.database.begin() as session:
        for audit in session.exec(select(Audit).where(Audit.shift_id == shifts(bench)[1].id)).all():
            audit.state, audit.outcome = AuditState.JUDGED, Judgement.GOOD
            session.add(audit)
    bench.switching.tick(bench.clock.now())
    assert [row.counted_at for row in shifts(bench)] == [None, None]
    settle(bench, BAD)
    bench.switching.tick(bench.clock.now())
    assert [row.is_accepted for row in shifts(bench)] == [False, True]
    assert shifts(bench)[-1].recent == [False, True]


def alarm_on_escapes(bench: Bench) -> int:
    with bench.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "made up", "none", is_simulated=True, product=PRODUCT)
        return raise_alarm(session, signal, bench.clock.now()).id or 0


def test_an_alarm_on_escapes_tightens_at_once_in_the_middle_of_a_shift(bench: Bench, station: FakeStation) -> None:
    bench.build(audit=AuditSettings(rejected_share=0.0))
    bench.report(station, [Verdict.OK] * 40)
    assert bench.auditing.draw(bench.clock.now()) == 2
    number = alarm_on_escapes(bench)
    bench.switching.tick(bench.clock.now())
    (row,) = shifts(bench)
    assert (row.inspection, row.reason) == (TIGHTENED, f"alarm {number} on escapes of {PRODUCT} is open")
    bench.report(station, [Verdict.OK] * 40)
    assert bench.auditing.draw(bench.clock.now()) == 10


def test_a_new_package_takes_reduced_back_at_once(bench: Bench, station: FakeStation) -> None:
    for _ in range(10):
        run_shift(bench, station)
    assert shifts(bench)[-1].inspection is REDUCED
    station.running = {PRODUCT: "b" * 64}
    bench.report(station, [Verdict.OK] * PARTS)
    drawn = len(bench.audit_rows())
    bench.auditing.draw(bench.clock.now())
    row = shifts(bench)[-1]
    assert (row.inspection, row.is_steady, row.reason) == (NORMAL, False, f"another package judges: {'b' * 12}")
    assert len(bench.audit_rows()) - drawn == PARTS


def test_an_open_alarm_on_drift_earns_no_reduction(bench: Bench, station: FakeStation) -> None:
    with bench.database.begin() as session:
        signal = Signal(AlarmKind.DRIFT, "made up", "none", is_simulated=True, station=str(station.address))
        number = raise_alarm(session, signal, bench.clock.now()).id or 0
    for _ in range(12):
        assert run_shift(bench, station).inspection is NORMAL
    with bench.database.begin() as session:
        close(find_alarm(session, number), "ann", bench.clock.now())
    assert run_shift(bench, station).inspection is REDUCED


@pytest.fixture(name="stopped")
def _stopped(bench: Bench, station: FakeStation) -> FakeStation:
    """Two bad shifts tighten, five more end sampling."""
    for number in range(7):
        assert run_shift(bench, station, BAD).inspection is (
            DISCONTINUED if number == 6 else [NORMAL, TIGHTENED][number > 0]
        )
    return station


def test_five_bad_shifts_while_tightened_call_a_person_who_resumes(bench: Bench, stopped: FakeStation) -> None:
    row = shifts(bench)[-1]
    assert row.reason.startswith("5 shifts not accepted while tightened, 3 of 40 audits")
    (alarm,) = bench.alarms()
    assert (alarm.kind, alarm.station, alarm.product) == (
        AlarmKind.SAMPLING_DISCONTINUED, str(stopped.address), PRODUCT,
    )  # fmt: skip
    assert alarm.evidence["shift_id"] == row.id
    for _ in range(6):
        # However good the shifts are: only a person goes on.
        assert run_shift(bench, stopped).inspection is DISCONTINUED
    newest = shifts(bench)[-1]
    with bench.database.begin() as session, pytest.raises(ConflictError, match=f"resume shift {newest.id}, which"):
        resume_shift(session, row.id or 0, "ann", "", bench.clock.now())
    with bench.database.begin() as session:
        resume_shift(session, newest.id or 0, "ann", "new lamp", bench.clock.now())
    newest = shifts(bench)[-1]
    assert (newest.inspection, newest.reason, newest.changed_by) == (TIGHTENED, "resumed by ann: new lamp", "ann")
    (alarm,) = bench.alarms()
    assert (alarm.state, alarm.closed_by) == (AlarmState.CLOSED, "ann")
    with bench.database.begin() as session, pytest.raises(ConflictError, match="nothing to resume"):
        resume_shift(session, newest.id or 0, "ann", "", bench.clock.now())
    with bench.database.begin() as session, pytest.raises(NotFoundError, match="no such shift"):
        resume_shift(session, 999, "ann", "", bench.clock.now())


def test_an_alarm_closed_by_hand_comes_again_while_nobody_resumes(bench: Bench, stopped: FakeStation) -> None:
    with bench.database.begin() as session:
        close(find_alarm(session, bench.alarms()[0].id or 0), "ann", bench.clock.now())
    bench.switching.tick(bench.clock.now())
    bench.switching.tick(bench.clock.now())
    assert [alarm.state for alarm in bench.alarms()] == [AlarmState.CLOSED, AlarmState.RAISED]
    assert bench.alarms()[1].repeats == 0
    assert stopped.sequence


def test_what_was_drawn_before_a_person_resumed_does_not_stop_it_again(bench: Bench, stopped: FakeStation) -> None:
    bench.report(stopped, [Verdict.OK] * PARTS)
    bench.auditing.draw(bench.clock.now())
    before = shifts(bench)[-1]
    bench.later(minutes=1)
    with bench.database.begin() as session:
        resume_shift(session, before.id or 0, "ann", "", bench.clock.now())
    settle(bench, PARTS)
    bench.clock.at = before.ends_at
    bench.switching.tick(bench.clock.now())
    row = shifts(bench)[-1]
    assert (row.is_accepted, row.inspection, row.rejected_while_tightened) == (False, TIGHTENED, 0)
    assert run_shift(bench, stopped, BAD).rejected_while_tightened == 1


def test_all_parts_are_drawn_while_sampling_is_discontinued_as_far_as_the_queue_has_room(
    bench: Bench, stopped: FakeStation
) -> None:
    bench.build(audit=AuditSettings(rejected_share=0.0, repeat_share=0.0, discontinued_open=60))
    bench.report(stopped, [Verdict.OK] * PARTS)
    assert bench.auditing.draw(bench.clock.now()) == PARTS
    bench.report(stopped, [Verdict.OK] * PARTS)
    assert bench.auditing.draw(bench.clock.now()) == 20
    bench.report(stopped, [Verdict.OK] * PARTS)
    assert bench.auditing.draw(bench.clock.now()) == PARTS / 4, "never less than tightened"
    bench.report(stopped, [Verdict.OK] * 3 * MOST_AUDITS_A_STRATUM)
    settle(bench, 0)
    assert bench.auditing.draw(bench.clock.now()) <= MOST_AUDITS_A_STRATUM
    assert min(audit.inclusion_probability for audit in bench.audit_rows()) > 0


def budgeted(bench: Bench, budget: int) -> None:
    bench.build(audit=AuditSettings(shift_budget=budget, rejected_share=0.0, repeat_share=0.0))


def minutes_of(bench: Bench, work: Callable[[int], object], minutes: Iterable[int]) -> None:
    begin: datetime = bench.clock.now()
    for minute in minutes:
        bench.clock.at = begin + timedelta(minutes=minute)
        work(minute)
        bench.auditing.draw(bench.clock.now())


def test_a_number_a_shift_is_spread_over_its_time_and_kept(bench: Bench, station: FakeStation) -> None:
    budgeted(bench, 48)
    minutes_of(bench, lambda _: bench.report(station, [Verdict.OK] * 6), range(0, 479, 2))
    (row,) = shifts(bench)
    assert (row.budget, row.accepted) == (48, 240 * 6)
    assert row.spent == pytest.approx(48, abs=1.0)
    assert row.drawn == pytest.approx(48, abs=18), "the number that is drawn varies, its mean does not"
    hours = [sum(audit.drawn_at.hour == 6 + hour for audit in bench.audit_rows()) for hour in range(8)]
    assert min(hours) >= 1
    assert max(hours) <= 17
    # One chance, from morning to evening, but for the share that goes by risk.
    chances = [audit.inclusion_probability for audit in bench.audit_rows() if audit.is_floor]
    assert min(chances) == pytest.approx(max(chances), rel=0.35)


def test_a_shift_that_makes_most_at_its_end_keeps_to_its_number_and_a_chance_for_every_part(
    bench: Bench, station: FakeStation
) -> None:
    budgeted(bench, 20)
    made = {minute: 2 if minute < 420 else 120 for minute in range(0, 479, 6)}
    minutes_of(bench, lambda minute: bench.report(station, [Verdict.OK] * made[minute]), list(made))
    (row,) = shifts(bench)
    assert row.accepted == sum(made.values())
    assert 19 <= row.spent <= 24
    late = [audit for audit in bench.audit_rows() if audit.drawn_at.hour == 13]
    assert late
    assert max(audit.inclusion_probability for audit in late) < 0.2


def test_a_number_is_shared_by_how_much_each_stream_makes_and_each_gets_some(
    bench: Bench, station: FakeStation
) -> None:
    budgeted(bench, 30)
    second = bench.add_station("st-2")
    for _ in range(3):
        bench.report(station, [Verdict.OK] * 80)
        bench.report(second, [Verdict.OK] * 16)
        bench.report(second, [Verdict.OK], product="board")
        bench.auditing.draw(bench.clock.now())
        bench.later(minutes=10)
    budgets = {(row.station_id, row.product): row.budget or 0 for row in shifts(bench)}
    assert sorted(budgets.values()) == [1, 5, 24]
    with bench.database.begin() as session:
        row = session.exec(select(AuditShift).where(AuditShift.budget == 24)).one()
        row.inspection = REDUCED
        session.add(row)
    bench.report(station, [Verdict.OK])
    bench.auditing.draw(bench.clock.now())
    assert 10 in {row.budget for row in shifts(bench)}, "two fifths of 24"


def test_rows_of_both_databases_switch_alike(any_bench: Bench) -> None:
    any_bench.build(audit=ALL)
    station = any_bench.add_station("st-1")
    station.running = {PRODUCT: "a" * 64}
    for _ in range(7):
        row = run_shift(any_bench, station, BAD)
    assert row.inspection is DISCONTINUED
    with any_bench.database.begin() as session:
        resume_shift(session, row.id or 0, "ann", "", any_bench.clock.now())
    with any_bench.database.read() as session:
        assert open_alarms(session, AlarmKind.SAMPLING_DISCONTINUED) == []


def test_a_product_that_was_not_made_for_weeks_begins_anew(bench: Bench, station: FakeStation) -> None:
    for _ in range(10):
        run_shift(bench, station)
    bench.later(days=13)
    run_shift(bench, station)
    assert shifts(bench)[-1].inspection is REDUCED
    bench.later(days=15)
    bench.report(station, [Verdict.OK])
    bench.auditing.draw(bench.clock.now())
    row = shifts(bench)[-1]
    assert (row.inspection, row.reason) == (NORMAL, "nothing was made for 15 days")


def test_a_budget_cut_in_the_middle_of_a_shift_leaves_a_chance_for_every_part(
    bench: Bench, station: FakeStation
) -> None:
    """More was spent by then than is planned now."""
    budgeted(bench, 40)
    minutes_of(bench, lambda _: bench.report(station, [Verdict.OK] * 20), range(0, 420, 10))
    with bench.database.begin() as session:
        row = session.exec(select(AuditShift)).one()
        row.inspection, spent = REDUCED, row.spent
        session.add(row)
    assert spent > 30
    minutes_of(bench, lambda _: bench.report(station, [Verdict.OK] * 20), range(0, 50, 10))
    (row,) = shifts(bench)
    assert row.budget == 16
    assert spent < row.spent < spent + 1
