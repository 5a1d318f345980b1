# SPDX-License-Identifier: Apache-2.0
"""Asks at every open alarm what is likeliest behind it, and stores the answer beside the alarm.

Asked when an alarm is new, again after some minutes, sooner when the alarm is repeated or people have judged more
parts, and ever more seldom the longer it stays open. What is asked is `services/watches/observing.py`'s, the ranking
`quality/cause`'s. Raises no alarm and starts nothing; `services/trainings/holds.py` reads the answer. Ticked by the
worker.

Restart-safe: nothing is kept in memory. While the monitors of drift and novelty are not there yet nothing is asked, so
that an answer that rests on them is not replaced by one that does not.
"""

import logging
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, col, func, select

from central.quality.cause import Observation, RankedCause, rank_causes
from central.services.watches.drift import DriftWatch
from central.services.watches.novelty import NoveltyWatch
from central.services.watches.observing import Question, observe
from central.services.watches.onsets import Onset, onset_of
from central.settings import WatchSettings
from central.store.cause_tables import CauseSuggestion
from central.store.database import Database
from central.store.learning_tables import Alarm
from central.store.repositories.causes import last_judged_at
from contracts.vocabulary import AlarmKind, AlarmState

_LOG = logging.getLogger(__name__)

ASKED_KINDS: Final = (
    AlarmKind.DRIFT,
    AlarmKind.NOVELTY,
    AlarmKind.REJECT_RATE,
    AlarmKind.IMAGE_SHIFT,
    AlarmKind.ESCAPES,
)
_PERIOD_S: Final = 3.0
# A tick stays short; the others are asked about by the next ones.
_MOST_A_TICK: Final = 2
_MOST_CAUSES: Final = 5
_OFTENEST: Final = timedelta(minutes=3)
_SELDOMEST: Final = timedelta(hours=6)
_SHARE_OF_AGE: Final = 0.1
# With new evidence this many times as often.
_SOONER: Final = 10
_LEAST_SEEN: Final = timedelta(seconds=60)


class CauseWatch:
    """See the module."""

    name: Final = "causes"
    period_s: Final = _PERIOD_S

    def __init__(self, database: Database, settings: WatchSettings, drift: DriftWatch, novelty: NoveltyWatch) -> None:
        self._database = database
        self._settings = settings
        self._drift = drift
        self._novelty = novelty

    def tick(self, now: datetime) -> None:
        """Ask about what is due, those that were never asked about first."""
        if not (self._drift.is_loaded and self._novelty.is_loaded):
            return
        with self._database.read() as session:
            due = _due(session, now)
        for alarm in due[:_MOST_A_TICK]:
            _store(self._database, self._ask(alarm, now))

    def _ask(self, alarm: Alarm, now: datetime) -> CauseSuggestion:
        with self._database.read() as session:
            onset = onset_of(session, alarm, self._settings)
            question = Question(
                min(onset.at, now - _LEAST_SEEN),
                now,
                alarm.is_simulated,
                alarm.station,
                alarm.product,
                _dealt_with(session, is_simulated=alarm.is_simulated),
                _moved_since(session, alarm),
            )
            seen = observe(session, question, self._drift.standings, self._novelty.standing)
            made_at = _change_in(seen, alarm, onset, question.since)
            if made_at is not None:
                question = replace(question, since=made_at)
                seen = observe(session, question, self._drift.standings, self._novelty.standing)
        found = [each for each in rank_causes(seen) if _concerns(each, alarm, seen)][:_MOST_CAUSES]
        if found:
            first = found[0]
            _LOG.info("alarm cause suggested alarm_id=%s cause=%s score=%s", alarm.id, first.cause, first.score)
        return CauseSuggestion(
            alarm_id=alarm.id or 0,
            computed_at=now,
            since=question.since,
            repeats=alarm.repeats,
            causes=[_as_row(each) for each in found],
        )


def _due(session: Session, now: datetime) -> list[Alarm]:
    wanted = select(Alarm).where(col(Alarm.kind).in_(ASKED_KINDS), Alarm.state != AlarmState.CLOSED)
    alarms = session.exec(wanted.order_by(col(Alarm.id))).all()
    if not alarms:
        return []
    numbers = [alarm.id for alarm in alarms]
    asked = {
        row.alarm_id: row
        for row in session.exec(select(CauseSuggestion).where(col(CauseSuggestion.alarm_id).in_(numbers))).all()
    }
    judged = {product: last_judged_at(session, product) for product in {a.product for a in alarms} if product}
    due: list[tuple[datetime, Alarm]] = []
    for alarm in alarms:
        row = asked.get(alarm.id or 0)
        if row is None:
            due.append((datetime.min.replace(tzinfo=UTC), alarm))
        elif now - row.computed_at >= _distance(alarm, row, judged.get(alarm.product or ""), now):
            due.append((row.computed_at, alarm))
    return [alarm for _, alarm in sorted(due, key=lambda one: (one[0], one[1].id))]


def _distance(alarm: Alarm, row: CauseSuggestion, judged_at: datetime | None, now: datetime) -> timedelta:
    usual = min(max((now - alarm.raised_at) * _SHARE_OF_AGE, _OFTENEST), _SELDOMEST)
    is_news = alarm.repeats != row.repeats or (judged_at is not None and judged_at > row.computed_at)
    return usual / _SOONER if is_news else usual


def _dealt_with(session: Session, *, is_simulated: bool) -> dict[str, datetime]:
    """By product, when the last alarm on escapes was closed: audits of before speak of what has been dealt with."""
    closed = (
        select(Alarm.product, func.max(Alarm.closed_at))
        .where(Alarm.kind == AlarmKind.ESCAPES, Alarm.is_simulated == is_simulated, col(Alarm.closed_at).is_not(None))
        .group_by(col(Alarm.product))
    )
    return {product: at for product, at in session.exec(closed).all() if product and at}


def _moved_since(session: Session, alarm: Alarm) -> datetime | None:
    """The oldest onset of an open alarm on drift. An alarm on drift has an onset of its own."""
    if alarm.kind is AlarmKind.DRIFT:
        return None
    wanted = select(Alarm.evidence).where(
        Alarm.kind == AlarmKind.DRIFT, Alarm.is_simulated == alarm.is_simulated, Alarm.state != AlarmState.CLOSED
    )
    onsets = [told["onset"] for told in session.exec(wanted).all() if "onset" in told]
    return min(map(datetime.fromisoformat, onsets), default=None)


def _change_in(seen: Observation, alarm: Alarm, onset: Onset, since: datetime) -> datetime | None:
    """The last change of the alarm's own product and station in the span in which it can have begun."""
    made = [
        change.at
        for change in seen.changes
        if alarm.station in {None, change.station} or change.station is None
        if alarm.product in {None, change.product} or change.product is None
        if onset.earliest.timestamp() <= change.at < since.timestamp()
    ]
    return datetime.fromtimestamp(max(made), UTC) if made else None


def _concerns(cause: RankedCause, alarm: Alarm, seen: Observation) -> bool:
    """Whether a cause may be behind this alarm: at its station, of its product, as far as either is named."""
    runs: Collection[tuple[str, str]] = {(stream.station, stream.product) for stream in seen.streams}
    if cause.station is not None and alarm.station is not None and cause.station != alarm.station:
        return False
    if cause.product is not None and alarm.product is not None and cause.product != alarm.product:
        return False
    station, product = cause.station or alarm.station, cause.product or alarm.product
    return station is None or product is None or (station, product) in runs


def _as_row(cause: RankedCause) -> dict[str, Any]:
    return {
        "cause": cause.cause.value,
        "station": cause.station,
        "product": cause.product,
        "score": cause.score,
        "remedy": cause.remedy.value,
        "evidence": list(cause.evidence),
    }


def _store(database: Database, answer: CauseSuggestion) -> None:
    with database.begin() as session:
        session.merge(answer)
