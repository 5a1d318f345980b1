# SPDX-License-Identifier: Apache-2.0
"""Feeds the limits of baking waves with the parts that their stations judge, and asks for the answer.

When the first station of a wave judges with the new package, the past of all its stations under the last one is read,
counted and stored: these are the limits, whatever becomes of those parts later. From then on each look reads the parts
stored since the last one, once for all stations, gives whole chunks to the gates and stores what was taken with what
they said, in the caller's transaction. So a restart of central takes up what was stored, chunk by chunk in the same
order. Counts in `domain/rollout_limits.py`; decides nothing. Called by `services/rollouts/moving.py`.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import func, or_
from sqlalchemy import select as sa_select
from sqlalchemy import update as sa_update
from sqlmodel import Session, col, select

from central.domain.rollout import has_limits, has_shadow
from central.domain.rollout_conditions import BakePolicy
from central.domain.rollout_gates import WaveAnswer, WaveOutcome
from central.domain.rollout_limits import Counts, LimitTerms, WaveLimits, chunks_of, count_part
from central.domain.rollout_plan import ControlPlan
from central.domain.rollout_shapes import ENDED, Progress, Rollout, StationStep, Wave
from central.domain.rollout_station import conditions_of
from central.store.learning_tables import RolloutRow
from central.store.rollout_tables import RolloutLimit, RolloutLook
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import RiskClass, Verdict, VerdictCause, WaveState

_LOG = logging.getLogger(__name__)

# Of each station's past; of a large wave less of each, so that the look at which it begins stays short.
_PAST_PARTS: Final = 4_000
_PAST_PARTS_OF_ALL: Final = 200_000
# Of the looks at a wave that is left open, so many of the newest keep what they said; of all stays what they took in.
_TOLD_LOOKS: Final = 500
# Read at one look. After a restart, or a long absence of central, the rest is read at the next ones.
_ROWS_A_LOOK: Final = 20_000
_JUDGES: Final = (Progress.BAKING, Progress.DONE)
_NOTHING_PRECEDES: Final = WaveAnswer(WaveOutcome.PASSED, (), {"reasons": ["being active is enough"]})


@dataclass
class Begun:
    """What the limits of a wave rest on, as it is stored."""

    terms: LimitTerms
    past: dict[str, list[Counts]]


_BEGUN: TypeAdapter[Begun] = TypeAdapter(Begun)


@dataclass
class _Watched:
    """A wave whose limits are fed. `read_to`, `open`: parts of chunks that are not full yet are read again if lost."""

    limits: WaveLimits
    last_look: int = 0
    read_to: int = 0
    # By station: the last inspection of its last chunk.
    through: dict[str, int] = field(default_factory=dict)
    open: defaultdict[str, list[Counts]] = field(default_factory=lambda: defaultdict(list))
    answer: WaveAnswer | None = None
    asked_for: frozenset[str] = frozenset()


class LimitsFeeding:
    """See the module. Keeps the gates of open waves in memory; the rows are what counts."""

    def __init__(self) -> None:
        self._watched: Final[dict[tuple[int, int], _Watched]] = {}

    def answers(
        self,
        session: Session,
        row: RolloutRow,
        rollout: Rollout,
        policy: BakePolicy,
        now: datetime,
        *,
        rightly_diverted: float,
    ) -> dict[int, WaveAnswer]:
        """By wave, what the limits say of those that bake, or have baked in this rollout. Commits nothing."""
        found: dict[int, WaveAnswer] = {}
        if rollout.state in ENDED:
            return found
        for wave in rollout.waves:
            plan = wave.plan.control
            is_due = wave.state in (WaveState.RUNNING, WaveState.FINISHED) and has_limits(rollout, wave)
            if plan is None or not is_due or (has_shadow(rollout, wave) and not wave.is_shown):
                continue
            asked = conditions_of(wave, policy)
            if asked.bake_parts == 0:
                found[wave.index] = _NOTHING_PRECEDES
                continue
            terms = _terms(plan, row, asked, rightly_diverted)
            answer = self._look(session, row, wave, terms, now)
            if answer is not None:
                found[wave.index] = answer
        return found

    def _look(
        self, session: Session, row: RolloutRow, wave: Wave, terms: LimitTerms, now: datetime
    ) -> WaveAnswer | None:
        key = (row.id or 0, wave.index)
        newest = session.exec(
            select(func.max(RolloutLook.id)).where(RolloutLook.rollout_id == key[0], RolloutLook.wave == key[1])
        ).one()
        watched = self._watched.get(key)
        # A look that was rolled back, or another process: what is in memory is not what is stored.
        if watched is None or watched.last_look != (newest or 0):
            self._watched.pop(key, None)
            watched = _restored(session, row, wave, key)
            if watched is not None:
                self._forget_others(session)
                self._watched[key] = watched
        # Begun in this transaction, it is kept in memory only once it is stored.
        watched = watched or _begin(session, row, wave, terms, now)
        if watched is None:
            return None
        taken = _take_new(session, row, wave, watched)
        judging = frozenset(item.station for item in wave.stations if item.progress in _JUDGES)
        if taken or watched.answer is None or judging != watched.asked_for:
            watched.answer, watched.asked_for = watched.limits.answer(judging), judging
        if taken:
            look = RolloutLook(
                rollout_id=key[0], wave=key[1], at=now, taken=taken, evidence=watched.answer.evidence
            )  # fmt: skip
            session.add(look)
            session.flush()
            watched.last_look = look.id or 0
            _hush(session, key)
        return watched.answer

    def _forget_others(self, session: Session) -> None:
        """Keep no gates of rollouts that have ended."""
        known = {rollout_id for rollout_id, _ in self._watched}
        open_ones = session.exec(
            select(RolloutRow.id).where(col(RolloutRow.id).in_(known), col(RolloutRow.finished_at).is_(None))
        ).all()
        for key in [key for key in self._watched if key[0] not in set(open_ones)]:
            del self._watched[key]


def _hush(session: Session, key: tuple[int, int]) -> None:
    """Drop what the look said that is no longer among the newest: its chunks are all that a restart needs."""
    c = columns_of(RolloutLook).c
    of_wave = (c.rollout_id == key[0]) & (c.wave == key[1])
    older = sa_select(c.id).where(of_wave).order_by(c.id.desc()).offset(_TOLD_LOOKS).limit(1)
    session.connection().execute(
        sa_update(columns_of(RolloutLook)).where(c.id == older.scalar_subquery()).values(evidence={})
    )


def _terms(plan: ControlPlan, row: RolloutRow, asked: BakePolicy, rightly_diverted: float) -> LimitTerms:
    needs = plan.needs_limits if plan.needs_limits is not None else row.risk is not RiskClass.STANDARD
    factor = plan.tolerated_factor if plan.tolerated_factor is not None else max(1.0, asked.max_diverted_factor)
    chunk_parts = plan.chunk_for(asked.bake_parts)
    return LimitTerms(plan.alpha, chunk_parts, plan.least_chunks, needs, factor, rightly_diverted)


def _begin(session: Session, row: RolloutRow, wave: Wave, terms: LimitTerms, now: datetime) -> _Watched | None:
    """Read the past once a station of the wave judges with the package; None: none does yet."""
    if not any(item.progress in _JUDGES for item in wave.stations):
        return None
    most = max(20 * terms.chunk_parts, min(_PAST_PARTS, _PAST_PARTS_OF_ALL // len(wave.stations)))
    stations = session.exec(
        select(Station).where(col(Station.address).in_([item.station for item in wave.stations]))
    ).all()
    past = {
        station.address: chunks_of(_past_of(session, row, station, most), terms.chunk_parts) for station in stations
    }
    begun = Begun(terms, past)
    session.add(
        RolloutLimit(rollout_id=row.id or 0, wave=wave.index, begun_at=now, begun=_BEGUN.dump_json(begun).decode())
    )  # fmt: skip
    watched = _Watched(WaveLimits(terms, past), read_to=_first_id(row, wave))
    _LOG.info(
        "limits of a wave begun rollout_id=%s wave=%s stations=%s chunk_parts=%s without_limits=%s",
        row.id, wave.index, len(past), terms.chunk_parts,
        {name: len(each) for name, each in watched.limits.without.items()},
    )  # fmt: skip
    return watched


def _restored(session: Session, row: RolloutRow, wave: Wave, key: tuple[int, int]) -> _Watched | None:
    """The limits as they are stored, every chunk taken in again in its order."""
    stored = session.get(RolloutLimit, key)
    if stored is None:
        return None
    begun = _BEGUN.validate_json(stored.begun)
    watched = _Watched(WaveLimits(begun.terms, begun.past), read_to=_first_id(row, wave))
    looks = session.exec(
        select(RolloutLook.id, RolloutLook.taken)
        .where(RolloutLook.rollout_id == key[0], RolloutLook.wave == key[1])
        .order_by(col(RolloutLook.id))
    )
    for look_id, taken in looks.yield_per(_ROWS_A_LOOK):
        watched.last_look = look_id or 0
        for station, last_id, rejects, faults, undecided in taken:
            watched.limits.take(station, (rejects, faults, undecided))
            watched.through[station] = last_id
    touched = [item.station for item in wave.stations if item.station in row.before]
    # Parts of chunks that were not full are read again: from where the station that lags most stands.
    watched.read_to = min((watched.through.get(name, watched.read_to) for name in touched), default=watched.read_to)
    return watched


def _first_id(row: RolloutRow, wave: Wave) -> int:
    """No part up to this inspection was judged with the package at a station of the wave."""
    before = [row.before[item.station] for item in wave.stations if item.station in row.before]
    return min((int(each["after_inspection_id"]) for each in before), default=0)


def _past_of(session: Session, row: RolloutRow, station: Station, most: int) -> list[Counts]:
    """The station's last parts of the product under the package before, oldest first."""
    touched = row.before.get(station.address)
    package_id = touched["package_id"] if touched is not None else station.assigned.get(row.product)
    if package_id is None:
        return []
    c = columns_of(Inspection).c
    is_of_product = or_(c.product == row.product, c.product.is_(None))
    is_its_own = (c.station_id == station.id) & (c.is_simulated == row.is_simulated)
    until = c.id <= int(touched["after_inspection_id"]) if touched is not None else c.id > 0
    connection = session.connection()
    judged = connection.execute(
        sa_select(c.id, c.verdict, c.cause)
        .where(c.package_id == package_id, is_its_own, c.product == row.product, until)
        .order_by(c.id.desc())
        .limit(most)
    ).all()
    if not judged:
        return []
    nameless = connection.execute(
        sa_select(c.id, c.verdict, c.cause)
        .where(
            c.verdict == Verdict.NO_DECISION, c.package_id.is_(None), is_its_own, is_of_product,
            c.id.between(judged[-1][0], judged[0][0]),
        )
        .order_by(c.id.desc())
        .limit(most)
    ).all()  # fmt: skip
    every = sorted((*judged, *nameless), key=lambda part: int(part[0]))[-most:]
    return [count_part(verdict, cause) for _, verdict, cause in every]


def _take_new(session: Session, row: RolloutRow, wave: Wave, watched: _Watched) -> list[list[Any]]:
    """Give the gates every chunk that is full by now; what was taken, to be stored."""
    steps = {item.station: item for item in wave.stations}
    ids = dict(session.exec(select(Station.id, Station.address).where(col(Station.address).in_(steps))).all())
    c = columns_of(Inspection).c
    rows = session.connection().execute(
        sa_select(c.id, c.station_id, c.verdict, c.cause, c.package_id, c.product, c.captured_at)
        .where(c.id > watched.read_to)
        .order_by(c.id)
        .limit(_ROWS_A_LOOK)
    )
    taken: list[list[Any]] = []
    size = watched.limits.terms.chunk_parts
    for part_id, station_id, verdict, cause, package_id, product, captured_at in rows:
        watched.read_to = part_id
        name = ids.get(station_id)
        if name is None or name not in watched.limits.past or part_id <= watched.through.get(name, 0):
            continue
        touched = row.before.get(name)
        if touched is None or part_id <= int(touched["after_inspection_id"]):
            continue
        if not _is_of(row, package_id, product, verdict, step=steps[name], at=captured_at):
            continue
        chunk = watched.open[name]
        chunk.append(count_part(Verdict(verdict), VerdictCause(cause)))
        if len(chunk) == size:
            (whole,) = chunks_of(chunk, size)
            watched.limits.take(name, whole)
            watched.through[name] = part_id
            taken.append([name, part_id, *whole])
            chunk.clear()
    return taken


def _is_of(
    row: RolloutRow, package_id: str | None, product: str | None, verdict: Verdict, *, step: StationStep, at: datetime
) -> bool:
    """Whether a part was the new package's. One without a decision may name none: then it counts once it judges."""
    if product not in (row.product, None):
        return False
    if package_id is not None:
        return package_id == row.package_id
    is_judging = step.progress in _JUDGES and step.since is not None and at >= step.since
    return verdict is Verdict.NO_DECISION and is_judging


def looks_of(session: Session, rollout_id: int, most: int) -> Sequence[RolloutLook]:
    """The newest looks at the limits of a rollout's waves, oldest first."""
    newest: Sequence[RolloutLook] = session.exec(
        select(RolloutLook).where(RolloutLook.rollout_id == rollout_id).order_by(col(RolloutLook.id).desc()).limit(most)
    ).all()
    return newest[::-1]
