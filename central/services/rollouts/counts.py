# SPDX-License-Identifier: Apache-2.0
"""How many parts the stations of a rollout have judged with its package, and of the one before.

`counts_of` asks for all stations at once; `PartBook` remembers what it found and from then on reads only inspections
that are new: they never change, and their numbers grow in commit order. It counts for as long as the rollout is open,
so a look costs what came since the last one. A restart loses nothing but time. Judges nothing. Used by
`services/rollouts/moving.py` through `facts.py`, and by the rollout routes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import case, func
from sqlalchemy import select as sa_select
from sqlmodel import Session, select

from central.store.chunks import in_chunks
from central.store.learning_tables import RolloutRow
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import Verdict, VerdictCause

PAST_PARTS: Final = 500
_DIVERTED: Final = (Verdict.NG, Verdict.REVIEW)
# What a package can be guilty of. A bad picture or a frame that never came is not the package's doing.
_PACKAGE_CAUSES: Final = (
    VerdictCause.LATE,
    VerdictCause.INFERENCE_ERROR,
    VerdictCause.NO_PACKAGE,
    VerdictCause.SESSION_CRASHED,
)


@dataclass(frozen=True)
class PartCounts:
    """Parts of one station under one package. `first_id`: the first that it judged; None: none yet."""

    judged: int = 0
    diverted: int = 0
    no_decision: int = 0
    first_id: int | None = None


@dataclass(frozen=True)
class Touched:
    """One station of a rollout: what it ran before, and the last inspection before its first assignment."""

    station_id: int
    package_id: str | None
    after_id: int


class PartBook:
    """The counts of one open rollout, kept between two looks. Not safe for two threads."""

    def __init__(self) -> None:
        self._new: dict[int, tuple[Touched, PartCounts]] = {}
        self._past: dict[int, tuple[Touched, PartCounts]] = {}
        self._through = 0

    def new(self, session: Session, rollout: RolloutRow, touched: Mapping[str, Touched]) -> dict[str, PartCounts]:
        """By address, what the new package judged, for as long as the rollout is open: four numbers a station."""
        newest = session.exec(select(func.max(Inspection.id))).one() or 0
        # Not known yet, or assigned once more since: a station that leaves the shadow counts anew.
        fresh = {address: each for address, each in touched.items() if not _is_of(self._new, each)}
        if len(fresh) < len(touched):
            self._read_on(session, rollout, newest)
        for address, counts in counts_of(session, rollout, fresh, through_id=newest).items():
            self._new[fresh[address].station_id] = fresh[address], counts
        self._through = newest
        return {address: self._new[each.station_id][1] for address, each in touched.items()}

    def past(self, session: Session, rollout: RolloutRow, touched: Mapping[str, Touched]) -> dict[str, PartCounts]:
        """By address, the last parts of the package before, up to the assignment: those never change."""
        fresh = {each.station_id: each for each in touched.values() if not _is_of(self._past, each)}
        for station_id, counts in past_counts(session, rollout.product, fresh.values()).items():
            self._past[station_id] = fresh[station_id], counts
        return {address: self._past[each.station_id][1] for address, each in touched.items()}

    def _read_on(self, session: Session, rollout: RolloutRow, newest: int) -> None:
        c = columns_of(Inspection).c
        is_own, is_fault = c.package_id == rollout.package_id, _is_its_fault(rollout)
        wanted = (
            sa_select(c.id, c.station_id, c.verdict, c.product, is_own.label("is_own"), is_fault.label("is_fault"))
            # By number: what is new is little, however much the package has judged.
            .where(c.id > self._through, c.id <= newest, is_own | is_fault)
            .order_by(c.id)
        )
        for row in session.connection().execute(wanted):
            touched, known = self._new.get(row.station_id, (None, PartCounts()))
            if touched is None:
                continue
            if known.first_id is None:
                if not row.is_own or row.product != rollout.product:
                    continue
                known = replace(known, first_id=row.id)
            if row.is_fault:
                known = replace(known, no_decision=known.no_decision + 1)
            elif row.verdict is not Verdict.NO_DECISION:
                diverted = known.diverted + (row.verdict in _DIVERTED)
                known = replace(known, judged=known.judged + 1, diverted=diverted)
            self._new[row.station_id] = touched, known


def _is_of(book: Mapping[int, tuple[Touched, PartCounts]], each: Touched) -> bool:
    return book.get(each.station_id, (None,))[0] == each


def counts_of(
    session: Session, rollout: RolloutRow, touched: Mapping[str, Touched], *, through_id: int | None = None
) -> dict[str, PartCounts]:
    """By address: parts from the first one that the new package judged at each of these stations, to `through_id`."""
    found: dict[str, PartCounts] = {}
    by_after: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for address, each in touched.items():
        by_after[each.after_id][each.station_id] = address
    # Those that were assigned together share the number, so these are about as many as waves.
    for after_id, addresses in by_after.items():
        counts = _counts_after(session, rollout, after_id, through_id)
        found |= {address: counts.get(station_id, PartCounts()) for station_id, address in addresses.items()}
    return found


def _counts_after(
    session: Session, rollout: RolloutRow, after_id: int, through_id: int | None
) -> dict[int, PartCounts]:
    """Of all stations, whether they are in the rollout or not: a list of them would cost more than it saves."""
    c = columns_of(Inspection).c
    span = c.id > after_id if through_id is None else c.id.between(after_id + 1, through_id)
    is_own = c.package_id == rollout.package_id
    is_diverted = case((c.verdict.in_(_DIVERTED), 1), else_=0)
    is_judged = case((c.verdict != Verdict.NO_DECISION, 1), else_=0)
    is_first = case((c.product == rollout.product, c.id))
    own = sa_select(c.station_id, func.sum(is_judged), func.sum(is_diverted), func.min(is_first))
    found: dict[int, PartCounts] = {}
    for station_id, judged, diverted, first_id in session.connection().execute(
        own.where(is_own, span).group_by(c.station_id)
    ):
        if first_id is not None:
            found[station_id] = PartCounts(int(judged), int(diverted), 0, int(first_id))
    if not found:
        return {}
    faults = sa_select(c.station_id, c.id).where(_is_its_fault(rollout), span)
    for station_id, number in session.connection().execute(faults):
        known = found.get(station_id)
        if known is not None and known.first_id is not None and number >= known.first_id:
            found[station_id] = replace(known, no_decision=known.no_decision + 1)
    return found


def past_counts(session: Session, product: str, touched: Iterable[Touched]) -> dict[int, PartCounts]:
    """The last parts that the previous package judged at each of these stations, by the station's number."""
    found: dict[int, PartCounts] = {}
    together: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for each in touched:
        if each.package_id is None:
            found[each.station_id] = PartCounts()
        else:
            together[each.package_id, each.after_id].append(each.station_id)
    station = columns_of(Station)
    for (package_id, after_id), station_ids in together.items():
        judged, diverted = _past_of(product, package_id, after_id)
        for some in in_chunks(station_ids):
            wanted = sa_select(station.c.id, judged, diverted).where(station.c.id.in_(some))
            rows = session.connection().execute(wanted)
            found |= {station_id: PartCounts(int(of), int(bad or 0)) for station_id, of, bad in rows}
    return found


def _past_of(product: str, package_id: str, after_id: int) -> tuple[Any, Any]:
    """Of the station that the statement around it names: parts, and those of them that were diverted."""
    c, station = columns_of(Inspection).c, columns_of(Station)
    recent = (
        sa_select(c.verdict)
        .where(
            c.package_id == package_id,
            c.station_id == station.c.id,
            c.product == product,
            c.id <= after_id,
            c.verdict != Verdict.NO_DECISION,
        )
        .order_by(c.id.desc())
        .limit(PAST_PARTS)
        .correlate(station)
        .subquery()
    )
    is_diverted = case((recent.c.verdict.in_(_DIVERTED), 1), else_=0)
    wanted = (sa_select(each).select_from(recent).correlate(station) for each in (func.count(), func.sum(is_diverted)))
    judged, diverted = (each.scalar_subquery() for each in wanted)
    return judged, diverted


def _is_its_fault(rollout: RolloutRow) -> Any:
    """Condition on inspections: without a decision, for a cause that a package can be guilty of."""
    c = columns_of(Inspection).c
    is_of_product = (c.product == rollout.product) | c.product.is_(None)
    return (c.verdict == Verdict.NO_DECISION) & c.cause.in_(_PACKAGE_CAUSES) & is_of_product
