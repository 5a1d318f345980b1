# SPDX-License-Identifier: Apache-2.0
"""What a shift report counts beside the figures: dispositions, signals, image faults, audits, alarms, recipes.

Simulated and real parts are counted apart. Computes no rate.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from central.store.learning_tables import Alarm
from central.store.recipe_tables import RecipeDeed, RecipeVersion
from central.store.repositories.quality import Scope, at_stations
from central.store.tables import Audit, Inspection, Station
from contracts.vocabulary import AuditState, Disposition, Judgement, SignalState

MOST_EVENTS = 1_000


@dataclass
class Handled:
    """Parts by what was asked of the line, and what became of it. `held_answered`: held and judged by a person."""

    dispositions: Counter[Disposition] = field(default_factory=Counter)
    signals: Counter[SignalState] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    held_answered: int = 0


@dataclass
class AuditCounts:
    """Audits that chance drew from the parts in scope, by what became of them. `discordant`: drawn for disagreement."""

    states: Counter[AuditState] = field(default_factory=Counter)
    judgements: Counter[Judgement] = field(default_factory=Counter)
    discordant: int = 0

    @property
    def drawn(self) -> int:
        """All that chance drew."""
        return sum(self.states.values())


def handled(session: Session, scope: Scope) -> dict[bool, Handled]:
    """By simulated or not."""
    keys: Any = [Inspection.is_simulated, Inspection.disposition, Inspection.signal, Inspection.image_fault]
    found: dict[bool, Handled] = {}
    counted = sa_select(*keys, func.count()).select_from(Inspection).group_by(*keys)
    for is_simulated, disposition, signal, fault, count in session.connection().execute(_of_parts(counted, scope)):
        held = found.setdefault(is_simulated, Handled())
        held.dispositions[Disposition(disposition)] += count
        held.signals[SignalState(signal)] += count
        if fault is not None:
            held.faults[str(fault)] += count
    answered = (
        sa_select(col(Inspection.is_simulated), func.count())
        .select_from(Inspection)
        .join(Audit, col(Audit.inspection_id) == col(Inspection.id))
        .where(
            col(Inspection.disposition) == Disposition.HELD,
            col(Audit.state) == AuditState.JUDGED,
            col(Audit.outcome).in_((Judgement.GOOD, Judgement.DEFECTIVE)),
        )
        .group_by(col(Inspection.is_simulated))
    )
    for is_simulated, count in session.connection().execute(_of_parts(answered, scope)):
        found[is_simulated].held_answered = count
    return found


def audit_counts(session: Session, scope: Scope) -> dict[bool, AuditCounts]:
    """By simulated or not, of parts captured in scope."""
    keys: Any = [Audit.is_simulated, Audit.state, Audit.outcome, Audit.is_discordant, Audit.asked_because]
    counted = (
        sa_select(*keys, func.count())
        .select_from(Audit)
        .join(Inspection, col(Inspection.id) == col(Audit.inspection_id))
        # One for each part; that others were asked about it as well is no further audit.
        .where(col(Audit.ask) == 1)
        .group_by(*keys)
    )
    found: dict[bool, AuditCounts] = {}
    rows = session.connection().execute(_of_parts(counted, scope))
    for is_simulated, state, outcome, is_discordant, asked_because, count in rows:
        held = found.setdefault(is_simulated, AuditCounts())
        if asked_because is not None:
            # Neither drawn nor disputed: the report tells nothing of it.
            continue
        if is_discordant:
            held.discordant += count
            continue
        held.states[AuditState(state)] += count
        if outcome is not None:
            held.judgements[Judgement(outcome)] += count
    return found


def alarms_in(session: Session, scope: Scope) -> list[Alarm]:
    """Alarms that were raised or still open in the period, oldest first, at most `MOST_EVENTS`."""
    wanted = (
        select(Alarm)
        .where(
            col(Alarm.raised_at) < scope.until,
            or_(col(Alarm.closed_at).is_(None), col(Alarm.closed_at) >= scope.since),
        )
        .order_by(col(Alarm.raised_at), col(Alarm.id))
        .limit(MOST_EVENTS)
    )
    return [alarm for alarm in session.exec(wanted).all() if scope.holds(alarm.station, alarm.product)]


def recipe_versions_in(session: Session, scope: Scope) -> list[RecipeVersion]:
    """Versions that were made in the period, oldest first."""
    wanted = (
        select(RecipeVersion)
        .where(col(RecipeVersion.created_at) >= scope.since, col(RecipeVersion.created_at) < scope.until)
        .order_by(col(RecipeVersion.id))
        .limit(MOST_EVENTS)
    )
    return [row for row in session.exec(wanted).all() if scope.holds(row.station or None, row.product)]


def recipe_deeds_in(session: Session, scope: Scope) -> list[RecipeDeed]:
    """Pins and switches that people asked for in the period, oldest first."""
    wanted = (
        select(RecipeDeed)
        .where(col(RecipeDeed.at) >= scope.since, col(RecipeDeed.at) < scope.until)
        .order_by(col(RecipeDeed.id))
        .limit(MOST_EVENTS)
    )
    return [row for row in session.exec(wanted).all() if scope.holds(row.station or None, row.product)]


def _of_parts(statement: Any, scope: Scope) -> Any:
    statement = statement.join(Station, col(Station.id) == col(Inspection.station_id)).where(
        col(Inspection.captured_at) >= scope.since, col(Inspection.captured_at) < scope.until, *at_stations(scope)
    )
    return statement if scope.product is None else statement.where(col(Inspection.product) == scope.product)
