# SPDX-License-Identifier: Apache-2.0
"""What each step of a rollout rested on, and which parts a package judged: for people who ask afterwards.

Writes one event a step, in the transaction of the step; reads inspections for exposure and quarantine list. Decides
nothing. Called by `services/rollouts/moving.py` and the rollout routes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import BigInteger, column, func, values
from sqlalchemy import select as sa_select
from sqlmodel import Session, col

from central.domain.rollout_conditions import Seen
from central.domain.rollout_gates import WaveAnswer
from central.domain.rollout_shapes import Progress, Rollout
from central.domain.way_back import WayBack
from central.services.rollouts.assigning import CATCHING_UP
from central.store.learning_tables import Assignment, RolloutRow
from central.store.repositories import stations
from central.store.rollout_tables import RolloutEvent
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import Verdict

_ROWS_AT_ONCE: Final = 1_000
_NO_WAYS: Final[Mapping[str, WayBack]] = MappingProxyType({})


@dataclass(frozen=True)
class Exposure:
    """Parts that the package of a rollout judged at one station, by verdict, between these capture times."""

    station: str
    verdicts: dict[Verdict, int]
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class QuarantinePart:
    """One part that the package let pass, so that people can find it."""

    station: str
    captured_at: datetime
    part_id: str | None
    trigger_number: int | None
    epoch: int
    sequence: int
    score: float | None


def note_step(
    session: Session,
    rollout_id: int,
    step: tuple[Rollout, Rollout],
    seen: Mapping[str, Seen],
    now: datetime,
    *,
    gates: Mapping[int, WaveAnswer],
    limits: Mapping[int, WaveAnswer],
    ways: Mapping[str, WayBack] = _NO_WAYS,
) -> None:
    """Write down what was said and, for each station that moved, from where to where and on which facts.

    `step`: the rollout before and after it. `ways`: where stations go back to, and why not to their package of before.
    """
    before, after = step
    lines = list(after.history[len(before.history) :])
    if not lines:
        return
    was = {item.station: item.progress for wave in before.waves for item in wave.stations}
    moved = {
        item.station: {
            "before": str(was.get(item.station, Progress.WAITING)),
            "after": str(item.progress),
            "why": item.detail,
            "seen": _plain(seen.get(item.station)),
        }
        for wave in after.waves
        for item in wave.stations
        if was.get(item.station, Progress.WAITING) is not item.progress
    }
    evidence: dict[str, Any] = {"state": [str(before.state), str(after.state)], "stations": moved}
    for name, answers in (("gates", gates), ("limits", limits)):
        if answers:
            evidence[name] = {str(index): answer.evidence for index, answer in answers.items()}
    if elsewhere := {address: asdict(way) for address, way in ways.items() if way.why}:
        evidence["ways_back"] = elsewhere
    session.add(RolloutEvent(rollout_id=rollout_id, at=now, lines=lines, evidence=evidence))


def exposure_of(session: Session, row: RolloutRow) -> list[Exposure]:
    """What the package judged since it was assigned, by the rollout or by catching up, by station; at any time."""
    c, s = columns_of(Inspection).c, columns_of(Station).c
    counted = (
        sa_select(s.address, c.verdict, func.count(), func.min(c.captured_at), func.max(c.captured_at))
        .where(s.id == c.station_id, *_judged_by(row, session))
        .group_by(s.address, c.verdict)
        .order_by(s.address)
    )
    found: dict[str, Exposure] = {}
    for address, verdict, count, first_at, last_at in session.connection().execute(counted):
        known = found.get(address, Exposure(address, {}, first_at, last_at))
        verdicts = known.verdicts | {Verdict(verdict): int(count)}
        found[address] = Exposure(address, verdicts, min(first_at, known.first_at), max(last_at, known.last_at))
    return list(found.values())


def quarantine_of(session: Session, row: RolloutRow) -> Iterator[QuarantinePart]:
    """The parts that the package let pass (OK), by station and time of capture: those that may hide its escapes."""
    c, s = columns_of(Inspection).c, columns_of(Station).c
    wanted = (
        sa_select(s.address, c.captured_at, c.part_id, c.trigger_number, c.epoch, c.sequence, c.score)
        .where(s.id == c.station_id, *_judged_by(row, session), c.verdict == Verdict.OK)
        .order_by(s.address, c.captured_at, c.id)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for each in session.connection().execute(wanted):
        yield QuarantinePart(*each)


def riskiest_of(session: Session, row: RolloutRow, most: int, station: str | None = None) -> list[QuarantinePart]:
    """Those of the quarantine list whose score came nearest to the limit, nearest first: where to look first.

    Args:
        session: to read with.
        row: the rollout.
        most: how many.
        station: address; None: of all.
    """
    c, s = columns_of(Inspection).c, columns_of(Station).c
    wanted = (
        sa_select(s.address, c.captured_at, c.part_id, c.trigger_number, c.epoch, c.sequence, c.score)
        .where(s.id == c.station_id, *_judged_by(row, session), c.verdict == Verdict.OK)
        .where(s.address == station if station is not None else s.id.is_not(None))
        .order_by(c.score.desc().nulls_last(), s.address, c.captured_at, c.id)
        .limit(most)
    )
    return [QuarantinePart(*each) for each in session.connection().execute(wanted)]


def given_it(session: Session, row: RolloutRow) -> dict[str, int]:
    """Stations that were given the package, each with the last inspection before its order.

    By the rollout, and by catching up since it began. The champion that it made goes there without a bake of its own,
    and its parts are to be found as well.
    """
    found = _caught_up(session, row)
    # An order that was called back may have been followed by a station that nobody heard: the first one counts.
    return found | {
        address: int(noted.get("exposed_after", noted["after_inspection_id"])) for address, noted in row.before.items()
    }


def _caught_up(session: Session, row: RolloutRow) -> dict[str, int]:
    a = columns_of(Assignment).c
    s = columns_of(Station).c
    package = col(Assignment.packages)[row.product].as_string()
    given = (
        sa_select(s.address, func.min(a.after_inspection_id))
        .where(s.id == a.station_id, a.reason == CATCHING_UP, a.issued_at >= row.created_at)
        .where(package == row.package_id, s.is_simulated == row.is_simulated)
        .group_by(s.address)
    )
    return {address: int(after_id) for address, after_id in session.connection().execute(given)}


def _judged_by(row: RolloutRow, session: Session) -> tuple[Any, ...]:
    """Conditions on inspections: of this package, at a station that was given it, since its order there."""
    c = columns_of(Inspection).c
    after = given_it(session, row)
    ids = {station.address: station.id or 0 for station in stations.of(session, after)}
    if not ids:
        return (c.id < 0,)
    # A table to join: a condition a station, or an order, is more than SQLite takes of 1,000. Numbers alone, so they
    # may stand in the text: as placeholders they are bounded too.
    rows = [(station_id, after[address]) for address, station_id in ids.items()]
    since = (
        values(column("station_id", BigInteger), column("after_id", BigInteger), name="since", literal_binds=True)
        .data(rows)
        .cte("given_since")
    )
    return (c.package_id == row.package_id, c.station_id == since.c.station_id, c.id > since.c.after_id)


def _plain(seen: Seen | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(seen).items()}
