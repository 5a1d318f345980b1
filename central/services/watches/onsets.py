# SPDX-License-Identifier: Apache-2.0
"""When what an alarm is about began, by what raised it. Reads rows, decides nothing; called by the cause watch.

A change that people made in the span in which it can have begun is taken for the moment: audits and blocks of parts
are too coarse to tell the two apart. The cause watch knows the changes; here is the span.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlmodel import Session, col, select

from central.quality.cause import began_at
from central.settings import WatchSettings
from central.store.learning_tables import Alarm, ChartBlock
from central.store.repositories import causes
from central.store.tables import Station
from contracts.vocabulary import AlarmKind, Verdict

_MOST_BLOCKS: Final = 400
_AUDITS: Final = timedelta(days=7)
# So many times the mean distance between two escapes may have passed before the first was audited.
_ESCAPES_MISSED: Final = 2.0


@dataclass(frozen=True)
class Onset:
    """at: the likeliest moment; earliest: it cannot well have been before."""

    at: datetime
    earliest: datetime


def onset_of(session: Session, alarm: Alarm, settings: WatchSettings) -> Onset:
    """By its kind; of an alarm whose rows are gone, when it was raised."""
    found = None
    if alarm.kind in (AlarmKind.DRIFT, AlarmKind.NOVELTY) and "onset" in alarm.evidence:
        at = datetime.fromisoformat(alarm.evidence["onset"])
        found = Onset(at, at)
    elif alarm.kind in (AlarmKind.REJECT_RATE, AlarmKind.IMAGE_SHIFT):
        found = _of_blocks(session, alarm, settings.reference_blocks)
    elif alarm.kind is AlarmKind.ESCAPES:
        found = _of_audits(session, alarm, settings.escape_tolerated_share)
    return found or Onset(alarm.raised_at, alarm.raised_at)


def _of_blocks(session: Session, alarm: Alarm, reference_blocks: int) -> Onset | None:
    block = ChartBlock
    wanted: Any = (
        select(block)
        .join(Station, col(Station.id) == block.station_id)
        .where(
            Station.address == alarm.station,
            block.product == alarm.product,
            block.package_id == alarm.evidence.get("package_id", ""),
            block.is_simulated == alarm.is_simulated,
        )
    )
    until = alarm.evidence.get("signal_at_inspection_id", 0)
    reference = session.exec(wanted.where(block.number < reference_blocks)).all()
    newest = session.exec(
        wanted.where(block.number >= reference_blocks, block.last_inspection_id <= until)
        .order_by(col(block.number).desc())
        .limit(_MOST_BLOCKS)
    ).all()
    usual = [_value(each, alarm) for each in reference]
    blocks = list(reversed(newest))
    values = [_value(each, alarm) for each in blocks]
    known, since = [each for each in usual if each is not None], [each for each in values if each is not None]
    if not known or not since or len(since) < len(values):
        return None
    first = began_at(np.array(since), math.fsum(known) / len(known))
    # A block's time is that of its last part, so it began where the one before ended.
    ends = [max(each.at for each in reference), *(each.at for each in blocks)]
    return Onset(ends[first], ends[max(first - 1, 0)])


def _value(block: ChartBlock, alarm: Alarm) -> float | None:
    if alarm.kind is AlarmKind.REJECT_RATE:
        return block.diverted / block.parts
    return block.brightness if alarm.evidence.get("chart") == "brightness" else block.log_score


def _of_audits(session: Session, alarm: Alarm, tolerated: float) -> Onset | None:
    judged = causes.judged_parts(
        session, [alarm.product or ""], is_simulated=alarm.is_simulated, judged_from=alarm.raised_at - _AUDITS
    )
    parts = [part for part in judged if part.verdict is Verdict.OK and part.is_floor]
    if not parts:
        return None
    escaped = np.array([part.is_defective for part in parts], np.float64)
    first = began_at(escaped, tolerated)
    share = max(float(escaped[first:].mean()), 1 / len(parts))
    before = max(0, first - math.ceil(_ESCAPES_MISSED / share))
    return Onset(parts[first].captured_at, parts[before].captured_at)
