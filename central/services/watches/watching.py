# SPDX-License-Identifier: Apache-2.0
"""Watches audits, reject rates, pictures and stations, and raises alarms with figures and a remedy.

The charts are recomputed from rows by pure functions (`quality/charts`); nothing is kept in memory that a restart
would lose. The charts of a large fleet are looked at in turn. Starts no training and stops nothing. Ticked by the
worker.

ESCAPES: a Bernoulli CUSUM over audit outcomes of accepted parts, per product, of the champion package only and only
since the last such alarm was closed: older outcomes speak of a state that has been dealt with. Audits drawn for their
risk are left out of it, since they are defective more often than accepted parts are. It is looked at after every audit,
so what an alarm says of the share is a confidence sequence, which may be.
"""

import logging
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from sqlalchemy import or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, select

from central.domain.audit import AuditedPart, is_escape
from central.quality.charts import follow_cusum, plan_cusum
from central.quality.confidence_sequence import ConfidenceSequence
from central.quality.rates import Interval, escape_interval
from central.services.alarms.rows import Signal, close, last_closed_at, open_alarms, raise_alarm
from central.services.watches.blocks import block_signals
from central.services.watches.chart_blocks import Stream, live_streams, new_blocks
from central.services.watches.silence import SilenceWatch
from central.settings import WatchSettings
from central.store.database import Database
from central.store.learning_tables import Champion
from central.store.repositories.chance import is_by_chance
from central.store.tables import Audit, Inspection, columns_of
from contracts.vocabulary import AlarmKind, AuditState, Judgement, Verdict

_LOG = logging.getLogger(__name__)

# Outcomes looked at, newest last. The CUSUM forgets by itself; this bounds the work.
MOST_OUTCOMES: Final = 20_000
# All services share one thread: two thousand streams at once would hold up rollouts for seconds.
_MOST_STREAMS_A_TICK: Final = 300


@dataclass(frozen=True)
class EscapeEvidence:
    """Audit outcomes of a product's champion, in the order in which the parts were made."""

    parts: tuple[AuditedPart, ...]
    # Said to be defective by one inspector so far: they are in nothing yet.
    unsettled: int = 0
    # Of `parts`, as defective: the same, but nobody has confirmed or refuted them for long.
    unconfirmed: int = 0

    @property
    def defective(self) -> int:
        """Audited accepted parts found defective."""
        return sum(part.is_defective for part in self.parts)

    @property
    def floor(self) -> tuple[AuditedPart, ...]:
        """Those that equal chance drew: they count alike."""
        return tuple(part for part in self.parts if part.is_floor)


class WatchingService:
    """See the module."""

    name: Final = "watching"

    def __init__(self, database: Database, settings: WatchSettings, can_hear: Callable[[], bool]) -> None:
        self._database = database
        self._settings = settings
        self._silence = SilenceWatch(settings.silent_after_s, can_hear)
        self._looked_upto: Stream | None = None
        # A wrong pair of shares must stop the start, not a tick at night.
        self._plan = plan_cusum(
            settings.escape_tolerated_share,
            settings.escape_rejected_share,
            int(settings.escape_parts_between_false_alarms),
        )

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._settings.period_s

    def tick(self, now: datetime) -> None:
        """Look at everything once."""
        with self._database.read() as session:
            silent, heard_again = self._silence.look(session, now)
            signals = [*self._escape_signals(session, now), *silent]
            fresh = [
                (stream, new_blocks(session, stream, self._settings.block_parts))
                for stream in self._next_streams(live_streams(session, now))
            ]
        grown = [(stream, blocks) for stream, blocks in fresh if blocks]
        if not (grown or signals or heard_again):
            return
        # One transaction: a stored block counts as looked at, so what it says must be stored with it or not at all.
        with self._database.begin() as session:
            for _, blocks in grown:
                session.add_all(blocks)
            session.flush()
            for stream, blocks in grown:
                signals += block_signals(session, stream, self._settings, newest=len(blocks))
            _write(session, signals, [alarm.id for alarm in heard_again], now)

    def _next_streams(self, streams: list[Stream]) -> list[Stream]:
        """Those to look at in this tick: all, or of a large fleet the next ones in turn."""
        if len(streams) <= _MOST_STREAMS_A_TICK:
            return streams
        first = bisect_right(streams, self._looked_upto) if self._looked_upto is not None else 0
        turn = [*streams[first:], *streams[:first]][:_MOST_STREAMS_A_TICK]
        self._looked_upto = turn[-1]
        return turn

    def _escape_signals(self, session: Session, now: datetime) -> list[Signal]:
        signals = []
        believed_before = now - timedelta(seconds=self._settings.unconfirmed_after_s)
        for champion in session.exec(select(Champion)).all():
            evidence = escape_evidence(session, champion, believed_before)
            path = follow_cusum([part.is_defective for part in evidence.floor], self._plan)
            if path.signal_at is not None:
                signals.append(self._escape_signal(champion, evidence, path.signal_at, int(path.value[-1])))
        return signals

    def _escape_signal(self, champion: Champion, evidence: EscapeEvidence, signal_at: int, statistic: int) -> Signal:
        share, watched = share_of(evidence), watched_share(evidence)
        of = len(evidence.parts)
        return Signal(
            kind=AlarmKind.ESCAPES,
            product=champion.product,
            is_simulated=champion.is_simulated,
            message=(
                f"Defective parts of {champion.product} are being accepted: {evidence.defective} of {of} audited "
                f"accepted parts were defective ({watched.low:.1%} to {watched.high:.1%} of all accepted, 95% interval "
                f"that holds at every look, by the {len(evidence.floor)} audits that equal chance drew)."
                + _unconfirmed_words(evidence.unconfirmed)
            ),
            remedy=(
                "Auditing of this product is tightened. Judge the open audits; once enough defective parts are "
                "judged, a training starts by itself, unless the likeliest cause has another remedy. Hold the parts "
                "made since the last good audit if they matter."
            ),
            evidence={
                "chart": "",
                "rule": "Bernoulli CUSUM",
                "statistic": statistic,
                "limit": self._plan.limit,
                "step_up": self._plan.up,
                "audits_between_false_alarms": round(self._plan.false_alarm_every),
                "signal_at_inspection_id": evidence.floor[signal_at].inspection_id,
                "audits": of,
                "audits_unsettled": evidence.unsettled,
                "audits_unconfirmed": evidence.unconfirmed,
                "defective": evidence.defective,
                "escape_share_low": share.low,
                "escape_share": share.estimate,
                "escape_share_high": share.high,
                "escape_share_watched_low": watched.low,
                "escape_share_watched_high": watched.high,
                "audits_of_equal_chance": len(evidence.floor),
                "package_id": champion.package_id,
            },
        )


def _unconfirmed_words(parts: int) -> str:
    if not parts:
        return ""
    return f" {parts} of them were called defective by one inspector and wait for a second one for long."


def _write(session: Session, signals: list[Signal], heard_again: list[int | None], now: datetime) -> None:
    for signal in signals:
        raise_alarm(session, signal, now)
    for alarm in open_alarms(session, AlarmKind.STATION_SILENT):
        if alarm.id in heard_again:
            close(alarm, "the station was heard again", now)
            session.add(alarm)


def escape_evidence(session: Session, champion: Champion, believed_before: datetime | None = None) -> EscapeEvidence:
    """Settled audits of parts that the champion accepted, since the last closed ESCAPES alarm of the product.

    Args:
        session: to read with.
        champion: whose parts.
        believed_before: what one inspector called defective before it counts as such; None: only once it is settled.
    """
    since = last_closed_at(session, AlarmKind.ESCAPES, product=champion.product, is_simulated=champion.is_simulated)
    audit, inspection = columns_of(Audit).c, columns_of(Inspection).c
    wanted = (
        sa_select(
            inspection.id,
            inspection.captured_at,
            audit.outcome,
            audit.inclusion_probability,
            audit.is_floor,
            audit.judgement,
            audit.judged_at,
        )
        .join(columns_of(Inspection), audit.inspection_id == inspection.id)
        .where(
            audit.product == champion.product,
            audit.state == AuditState.JUDGED,
            # Pooled with what machines asked for, every challenger would raise an alarm.
            is_by_chance(audit),
            audit.ask == 1,
            or_(audit.outcome.is_(None), audit.outcome != Judgement.UNSURE),
            audit.is_simulated == champion.is_simulated,
            inspection.package_id == champion.package_id,
            inspection.verdict == Verdict.OK,
        )
        .order_by(inspection.id.desc())
        .limit(MOST_OUTCOMES)
    )
    if since is not None:
        wanted = wanted.where(inspection.captured_at > since)
    rows = session.connection().execute(wanted).all()
    parts, unconfirmed = [], 0
    for inspection_id, captured_at, outcome, chance, is_floor, first_answer, judged_at in reversed(rows):
        counted = outcome
        if outcome is None and believed_before is not None and judged_at is not None and judged_at < believed_before:
            counted = first_answer
        if counted in (Judgement.GOOD, Judgement.DEFECTIVE):
            unconfirmed += outcome is None
            parts.append(AuditedPart(inspection_id, captured_at, is_escape(Verdict.OK, counted), chance, is_floor))
    return EscapeEvidence(tuple(parts), len(rows) - len(parts), unconfirmed)


def share_of(evidence: EscapeEvidence) -> Interval:
    """Share of accepted parts that are defective, by these audits.

    The number of accepted parts they stand for is the sum of their weights: what was drawn by period adds up to it.
    """
    chance = np.array([part.inclusion_probability for part in evidence.parts], dtype=np.float64)
    defective = np.array([part.is_defective for part in evidence.parts], dtype=np.bool_)
    accepted = max(len(chance), round(float((1.0 / chance).sum()))) if len(chance) else 0
    return escape_interval(defective, chance, accepted)


def watched_share(evidence: EscapeEvidence) -> Interval:
    """The same share by the audits of equal chance, as an interval that may be looked at after each of them."""
    return ConfidenceSequence().update_many(np.array([part.is_defective for part in evidence.floor], dtype=np.bool_))
