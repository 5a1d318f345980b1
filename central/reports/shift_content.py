# SPDX-License-Identifier: Apache-2.0
"""What stands in a shift report, gathered once and written as PDF or CSV by the modules beside this one.

Figures and charts are those of `/quality/figures` and `/quality/attribute-charts`: the same functions on the same rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from central.api.quality_computing import ChartPlan, by_sample, charts_of, figures_of, key_of, marks_of
from central.api.quality_group_schemas import AttributeChartView, GroupedBy, GroupFigures
from central.reports.shift_period import Asked, Period, period_of, scope_of
from central.store.learning_tables import Alarm
from central.store.repositories import quality, shift_counts
from central.store.repositories.quality import Scope
from central.store.repositories.quality_cells import Cell, cells, persons_words
from central.store.repositories.shift_counts import AuditCounts, Handled
from contracts.vocabulary import AuditState, VerdictCause

GROUPINGS: Final = (GroupedBy.SITE, GroupedBy.STATION, GroupedBy.PRODUCT, GroupedBy.PACKAGE)
# Samples of a chart: some twenty teach the limits, the rest is watched.
_SAMPLES: Final = 48
_REFERENCE: Final = 20


@dataclass(frozen=True)
class AlarmLine:
    """An alarm as it stood when the report was made."""

    id: int
    raised_at: datetime
    kind: str
    about: str
    message: str
    state: str
    closed_at: datetime | None
    cause: str
    is_raised_here: bool
    is_simulated: bool


@dataclass(frozen=True)
class Change:
    """Something that was changed while the shift ran. `kind`: package or recipe."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True)
class Cost:
    """What a part costs, so that overkill has a price. None: not given."""

    of_part: float | None = None
    currency: str = ""


@dataclass(frozen=True)
class ShiftReport:
    """The whole report."""

    asked: Asked
    period: Period
    made_at: datetime
    made_by: str
    version: str
    cost: Cost
    figures: Mapping[GroupedBy, Sequence[GroupFigures]]
    causes: Mapping[bool, Mapping[VerdictCause, int]]
    handled: Mapping[bool, Handled]
    audits: Mapping[bool, AuditCounts]
    charts: Sequence[AttributeChartView]
    sample_minutes: int
    alarms: Sequence[AlarmLine]
    changes: Sequence[Change]
    notes: Sequence[str]

    @property
    def file_name(self) -> str:
        """Without its ending; of letters that every file system takes."""
        local = self.period.since.astimezone(self.period.zone)
        where = (self.asked.at or "all").replace("/", "_")
        product = f"_{self.asked.product}" if self.asked.product else ""
        return f"shift_{local:%Y-%m-%d_%H%M}_{where}{product}{'_preliminary' if self.period.is_preliminary else ''}"


def gather(session: Session, asked: Asked, now: datetime, *, by: str, version: str, cost: Cost) -> ShiftReport:
    """Read everything that the report says.

    Raises:
        InvalidError: a period or address that is none.
        NotFoundError: a station or product that central does not know.
    """
    period = period_of(asked, now)
    scope = scope_of(session, asked, period)
    minutes = max(1, math.ceil((period.until - period.since) / timedelta(minutes=_SAMPLES)))
    # Samples and not minutes: a week of a large plant has more of these than fit.
    found = by_sample(cells(session, scope), scope.since, timedelta(minutes=minutes))
    words = persons_words(session, scope)
    costs = (cost.of_part, cost.currency)
    figures = {
        grouping: figures_of(found, words, key_of(grouping, asked.shifts, asked.time_zone), costs)
        for grouping in GROUPINGS
    }
    causes: dict[bool, dict[VerdictCause, int]] = {}
    for line in quality.line_counts(session, scope):
        total = causes.setdefault(line.is_simulated, dict.fromkeys(VerdictCause, 0))
        for cause, count in line.causes.items():
            total[cause] += count
    alarms = shift_counts.alarms_in(session, scope)
    raised = [alarm for alarm in alarms if alarm.raised_at >= scope.since]
    by_station = key_of(GroupedBy.STATION, asked.shifts, asked.time_zone)
    plan = ChartPlan("p", timedelta(minutes=minutes), _REFERENCE)
    audits = shift_counts.audit_counts(session, scope)
    return ShiftReport(
        asked=asked,
        period=period,
        made_at=now,
        made_by=by,
        version=version,
        cost=cost,
        figures=figures,
        causes=causes,
        handled=shift_counts.handled(session, scope),
        audits=audits,
        charts=charts_of(found, by_station, raised, scope.since, plan),
        sample_minutes=minutes,
        alarms=[_alarm(alarm, scope) for alarm in alarms],
        changes=sorted([*_recipe_changes(session, scope), *_package_changes(found)], key=lambda each: each.at),
        notes=_notes(period, figures[GroupedBy.SITE], audits, len(alarms)),
    )


def _notes(
    period: Period, figures: Sequence[GroupFigures], audits: Mapping[bool, AuditCounts], alarms: int
) -> list[str]:
    notes = []
    if period.is_preliminary:
        notes.append("PRELIMINARY: this shift is still under way. Every figure here will change; do not sign it.")
    if not figures:
        notes.append("No part was reported in this period.")
    if any(group.is_simulated for group in figures):
        notes.append("Parts marked SIMULATED were never made; they are counted apart and never beside real ones.")
    waiting = sum(
        counts.states[state] for counts in audits.values() for state in (AuditState.OPEN, AuditState.AWAITING_EVIDENCE)
    )
    if waiting:
        notes.append(f"{waiting} audits of these parts are not judged yet: escapes and overkill will change with them.")
    if alarms >= shift_counts.MOST_EVENTS:
        notes.append(f"Only the first {shift_counts.MOST_EVENTS} alarms are listed.")
    return notes


def _alarm(alarm: Alarm, scope: Scope) -> AlarmLine:
    about = ", ".join(name for name in (alarm.station, alarm.product) if name) or "all"
    said = f"{alarm.cause} (said by {alarm.cause_by})" if alarm.cause else "not said yet"
    return AlarmLine(
        id=alarm.id or 0,
        raised_at=alarm.raised_at,
        kind=alarm.kind.value,
        about=about,
        message=alarm.message,
        state=alarm.state.value,
        closed_at=alarm.closed_at,
        cause=f"{said}: {alarm.cause_note}" if alarm.cause_note else said,
        is_raised_here=alarm.raised_at >= scope.since,
        is_simulated=alarm.is_simulated,
    )


def _package_changes(found: Sequence[Cell]) -> list[Change]:
    return [Change(mark.at, "package", mark.text) for mark in marks_of(found, [])]


def _recipe_changes(session: Session, scope: Scope) -> list[Change]:
    changes = []
    for row in shift_counts.recipe_versions_in(session, scope):
        where = f" at {row.station}" if row.station else ""
        text = f"{row.product}{where}: version {row.version} made by {row.created_by}: {row.note}"
        changes.append(Change(row.created_at, "recipe", text))
    for deed in shift_counts.recipe_deeds_in(session, scope):
        version = f" version {deed.version}" if deed.version is not None else ""
        note = f": {deed.note}" if deed.note else ""
        text = f"{deed.product} at {deed.station}: {deed.act.value}{version} by {deed.by}{note}"
        changes.append(Change(deed.at, "recipe", text))
    return changes
