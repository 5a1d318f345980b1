# SPDX-License-Identifier: Apache-2.0
"""How severely each station and product is audited in the running shift, and how much that makes of a draw.

Reads and writes `AuditShift`; the rules are `quality/switching.py`. Draws nothing (`auditing` does) and judges no shift
(`switching.py` does). Every function works in the caller's transaction.

The budget is spread over the shift: each draw gets the part of it that its parts are of those still to come. What a
draw gets depends on what came before it and on no part in it, so each part's chance, given that, is exact.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, func, select

from central.audit_settings import AuditSettings
from central.domain.shifts import ShiftPlan
from central.quality.sampling import allocate_budget, audit_budget
from central.quality.switching import (
    SKIPPED_FLOOR,
    Inspection,
    SwitchingRules,
    SwitchingState,
    budget_factor,
    restored,
    shift_budget,
    tightened,
)
from central.services.alarms.rows import open_alarms
from central.store.audit_tables import AuditShift
from central.store.tables import Audit
from contracts.vocabulary import AlarmKind, AuditState

# Station, product ("" for none), simulated or not.
Stream = tuple[int, str, bool]
# Audits of one station and product in one draw: people's time is the scarce thing.
MOST_AUDITS_A_STRATUM: Final = 100
# A product that was not made at a station for so long begins anew: nothing that was earned then is true by itself.
STALE_AFTER: Final = timedelta(days=14)
_ENDLESS: Final = 2**31


def stream_of(row: AuditShift) -> Stream:
    """What the row is about."""
    return row.station_id, row.product, row.is_simulated


def standing(session: Session, *, is_locked: bool = True) -> dict[Stream, AuditShift]:
    """The newest row of each station and product: what holds now. `is_locked`: to be changed in this transaction."""
    newest = select(func.max(AuditShift.id)).group_by(
        col(AuditShift.station_id), col(AuditShift.product), col(AuditShift.is_simulated)
    )
    wanted = select(AuditShift).where(col(AuditShift.id).in_(newest)).order_by(col(AuditShift.id))
    rows = session.exec(wanted.with_for_update() if is_locked else wanted).all()
    return {stream_of(row): row for row in rows}


def rules_of(settings: AuditSettings) -> SwitchingRules:
    """The rules with the plant's own factors, from the shares of accepted parts."""
    normal = settings.accepted_share
    if normal == 0.0:
        return SwitchingRules()
    return SwitchingRules(
        tightened_factor=max(1.0, settings.tightened_share / normal),
        # Above 0 in any case: what nobody looks at can hide any number of escapes.
        reduced_factor=min(1.0, max(SKIPPED_FLOOR, settings.reduced_share / normal)),
    )


def state_of(row: AuditShift) -> SwitchingState:
    """The row as the rules see it."""
    return SwitchingState(
        row.inspection, tuple(row.recent), row.score, row.accepted_in_a_row, row.rejected_while_tightened
    )


def keep_state(row: AuditShift, state: SwitchingState, reason: str, now: datetime, by: str | None = None) -> None:
    """Write a state. The reason and its time are of the last change of how severely is audited."""
    if state.inspection is not row.inspection or by is not None:
        row.inspection, row.reason, row.changed_at, row.changed_by = state.inspection, reason, now, by
    row.recent, row.score = list(state.recent), state.score
    row.accepted_in_a_row, row.rejected_while_tightened = state.accepted_in_a_row, state.rejected_while_tightened


def open_shift(
    session: Session,
    rows: dict[Stream, AuditShift],
    stream: Stream,
    plan: ShiftPlan,
    now: datetime,
    *,
    chance: float,
) -> AuditShift:
    """The row of the running shift; begun where the shift has changed since the last draw of this stream.

    chance: uniform in [0, 1), for a shift that begins.
    """
    last = rows.get(stream)
    name, begins_at, ends_at = plan.running(now)
    # Whatever a change of clocks or settings does to names and times, a row is begun once its forerunner is over.
    if last is not None and (last.shift == name or last.ends_at > now):
        return last
    row = AuditShift(
        station_id=stream[0],
        product=stream[1],
        is_simulated=stream[2],
        shift=name,
        begins_at=begins_at,
        ends_at=ends_at,
        opened_at=now,
        inspection=Inspection.NORMAL,
        reason="the first shift of this product at this station",
        changed_at=now,
        chance=chance,
    )
    if last is not None:
        keep_state(row, state_of(last), "", now)
        row.inspection, row.reason, row.changed_at = last.inspection, last.reason, last.changed_at
        row.changed_by, row.package_id, row.expected = last.changed_by, last.package_id, last.accepted
        if now - last.ends_at > STALE_AFTER:
            keep_state(row, restored(state_of(row)), f"nothing was made for {(now - last.ends_at).days} days", now)
    session.add(row)
    session.flush()
    rows[stream] = row
    return row


def note_package(row: AuditShift, package_ids: Sequence[str | None], now: datetime) -> None:
    """Another package than the one before: what was earned under that one says nothing of this one."""
    named = [package_id for package_id in package_ids if package_id]
    if not named:
        return
    if row.package_id is not None and any(package_id != row.package_id for package_id in named):
        row.is_steady = False
        keep_state(row, restored(state_of(row)), f"another package judges: {named[-1][:12]}", now)
    row.package_id = named[-1]


def tighten_for_alarms(session: Session, rows: Mapping[Stream, AuditShift], now: datetime) -> int:
    """Tighten every station of a product that has an open alarm on escapes, at once. Returns how many."""
    alarms = {(alarm.product, alarm.is_simulated): alarm for alarm in open_alarms(session, AlarmKind.ESCAPES)}
    changed = 0
    for row in rows.values():
        alarm = alarms.get((row.product, row.is_simulated))
        if alarm is None:
            continue
        before = state_of(row)
        after = tightened(before)
        if after != before:
            keep_state(row, after, f"alarm {alarm.id} on escapes of {row.product} is open", now)
            session.add(row)
            changed += 1
    return changed


def plan_budgets(
    rows: Mapping[Stream, AuditShift], fresh: Mapping[Stream, int], settings: AuditSettings, now: datetime
) -> None:
    """Share `audit.shift_budget` among the running shifts by how many parts they make; None without such a number.

    fresh: accepted parts of each stream in the draw to come.
    """
    running = [row for stream, row in rows.items() if row.ends_at > now or stream in fresh]
    if settings.shift_budget == 0:
        for row in running:
            row.budget = None
        return
    rules = rules_of(settings)
    sizes = [max(row.expected, row.accepted + fresh.get(stream_of(row), 0)) for row in running]
    for row, normal in zip(running, allocate_budget(sizes, settings.shift_budget), strict=True):
        is_endless = row.inspection is Inspection.DISCONTINUED
        # At least one a shift, however many streams share the number.
        planned = shift_budget(state_of(row), max(1, normal), _ENDLESS, row.chance, rules)
        row.budget = None if is_endless else planned


def expected_draw(session: Session, row: AuditShift, parts: int, settings: AuditSettings, now: datetime) -> float:
    """How many of `parts` new accepted parts to draw, on average. Above 0: no part is without a chance."""
    rules = rules_of(settings)
    if row.inspection is Inspection.DISCONTINUED:
        tight = _by_share(SwitchingState(Inspection.TIGHTENED), parts, settings, row.chance, rules)
        return max(tight, float(min(parts, MOST_AUDITS_A_STRATUM, settings.discontinued_open - _waiting(session, row))))
    if row.budget is None:
        return _by_share(state_of(row), parts, settings, row.chance, rules)
    to_come = parts * 1.0 + _rate(row, parts, settings, now) * max(0.0, (row.ends_at - now).total_seconds())
    wanted = (row.budget - row.spent) * parts / to_come
    # A shift that makes more than it did before has spent its number early. It keeps a trickle.
    least = SKIPPED_FLOOR * row.budget * parts / (row.accepted + to_come)
    return min(float(parts), float(MOST_AUDITS_A_STRATUM), max(wanted, least))


def _by_share(
    state: SwitchingState, parts: int, settings: AuditSettings, chance: float, rules: SwitchingRules
) -> float:
    if state.inspection is Inspection.TIGHTENED:
        share = max(settings.tightened_share, settings.accepted_share)
        return float(audit_budget(parts, share, MOST_AUDITS_A_STRATUM))
    normal = audit_budget(parts, settings.accepted_share, MOST_AUDITS_A_STRATUM)
    return normal * budget_factor(state, chance, rules)


def _rate(row: AuditShift, parts: int, settings: AuditSettings, now: datetime) -> float:
    """Accepted parts a second: what this shift has made so far, or what the last one did if that was more."""
    elapsed = max(settings.period_s, (now - row.opened_at).total_seconds())
    length = max(1.0, (row.ends_at - row.begins_at).total_seconds())
    return max((row.accepted + parts) / elapsed, row.expected / length)


def _waiting(session: Session, row: AuditShift) -> int:
    """Drawn parts of this stream that no person has judged yet."""
    wanted = (
        select(func.count())
        .select_from(Audit)
        .join(AuditShift, col(AuditShift.id) == col(Audit.shift_id))
        .where(
            col(Audit.state).in_((AuditState.OPEN, AuditState.AWAITING_EVIDENCE)),
            AuditShift.station_id == row.station_id,
            AuditShift.product == row.product,
            col(AuditShift.is_simulated).is_(row.is_simulated),
        )
    )
    return session.exec(wanted).one()
