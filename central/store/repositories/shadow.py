# SPDX-License-Identifier: Apache-2.0
"""Verdicts of challengers beside those of champions, part by part, with what people said of them.

Written by ingest; read by the gates of a rollout, by the draw of audits and by the API. Estimates nothing and decides
nothing. A verdict whose inspection is not (or no longer) stored is in no answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, case, delete, exists, func
from sqlalchemy import select as sa_select
from sqlmodel import Session

from central.domain.shadow import is_right
from central.store.shadow_tables import ShadowVerdict
from central.store.tables import Audit, Inspection, Station, columns_of
from central.store.upserts import insert_into
from contracts.reports import is_discordant
from contracts.vocabulary import Judgement, Verdict

MOST_PAIRS: Final = 10_000


@dataclass(frozen=True)
class Pairing:
    """Whose parts: of a challenger, and of these of its champions and stations only; None: of all."""

    challenger: str
    champion: str | None = None
    station: str | None = None
    is_simulated: bool | None = None


@dataclass(frozen=True)
class ShadowPair:
    """One part that a champion and a challenger judged. Times are those in the graph in shadow, ms; None: not timed.

    `id` grows in commit order: ask for what came after the last one seen. `judgement`: of its audit, whoever drew it.
    """

    id: int
    inspection_id: int
    station: str
    champion: str
    captured_at: datetime
    champion_verdict: Verdict
    challenger_verdict: Verdict
    champion_ms: float | None
    challenger_ms: float | None
    judgement: Judgement | None = None
    judged_at: datetime | None = None

    @property
    def is_discordant(self) -> bool:
        """Whether a judgement of the part shows who is right."""
        return is_discordant(self.champion_verdict, self.challenger_verdict)

    @property
    def is_challenger_right(self) -> bool | None:
        """For a judged discordant part; None: not discordant, not judged, or nobody can say."""
        if not self.is_discordant or self.judgement is None:
            return None
        return is_right(self.challenger_verdict, self.judgement)

    @property
    def difference(self) -> int | None:
        """0: both did the same. +1, −1: the challenger, the champion was right. None: no judgement yet, or an error."""
        if self.challenger_verdict is Verdict.NO_DECISION:
            return None
        if not self.is_discordant:
            return 0
        right = self.is_challenger_right
        return None if right is None else 1 if right else -1


@dataclass(frozen=True)
class PairingCounts:
    """What is known of one station × champion × challenger. `errors`: parts on which the challenger failed."""

    station: str
    champion: str
    challenger: str
    is_simulated: bool
    concordant: int
    discordant: int
    errors: int
    # Of the discordant ones, with a firm judgement.
    challenger_right: int
    challenger_wrong: int
    first_at: datetime
    last_at: datetime


def keep(session: Session, rows: Iterable[dict[str, Any]]) -> None:
    """Insert verdicts; one that is stored already changes nothing."""
    by_key = {(row["station_id"], row["epoch"], row["sequence"]): row for row in rows}
    if by_key:
        statement = insert_into(session, ShadowVerdict).on_conflict_do_nothing(
            index_elements=["station_id", "epoch", "sequence"]
        )
        session.connection().execute(statement, list(by_key.values()))


def pairs_after(session: Session, wanted: Pairing, after_id: int, limit: int = MOST_PAIRS) -> list[ShadowPair]:
    """Parts in commit order: for the latency gate, and the concordant ones for the margin gate."""
    shadow = columns_of(ShadowVerdict).c
    statement = _pairs(wanted).where(shadow.id > after_id).order_by(shadow.id).limit(limit)
    return [_pair(row) for row in session.connection().execute(statement)]


def judged_discordant(
    session: Session, wanted: Pairing, judged_after: datetime | None = None, limit: int = MOST_PAIRS
) -> list[ShadowPair]:
    """Discordant parts with a firm judgement, in the order in which people gave it."""
    audit = columns_of(Audit).c
    statement = _pairs(wanted).where(_discordant(), _firm()).order_by(audit.settled_at, audit.id).limit(limit)
    if judged_after is not None:
        statement = statement.where(audit.settled_at > judged_after)
    return [_pair(row) for row in session.connection().execute(statement)]


def counts(session: Session, challenger: str | None = None, since: datetime | None = None) -> list[PairingCounts]:
    """One entry a station × champion × challenger, by these; of parts captured from `since` on."""
    shadow, inspection, audit = (columns_of(row).c for row in (ShadowVerdict, Inspection, Audit))
    address = columns_of(Station).c.address
    keys = (address, inspection.package_id, shadow.package_id, inspection.is_simulated)
    is_error = shadow.verdict == Verdict.NO_DECISION
    # A discordant pair has exactly one OK, so the challenger is right when its OK goes with GOOD.
    is_its_ok = shadow.verdict == Verdict.OK
    is_good = audit.outcome == Judgement.GOOD
    right = and_(_discordant(), _firm(), is_its_ok == is_good)
    wrong = and_(_discordant(), _firm(), is_its_ok != is_good)
    statement = (
        _joined(
            *keys,
            _number(and_(~_discordant(), ~is_error)),
            _number(_discordant()),
            _number(is_error),
            _number(right),
            _number(wrong),
            func.min(inspection.captured_at),
            func.max(inspection.captured_at),
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    if challenger is not None:
        statement = statement.where(shadow.package_id == challenger)
    if since is not None:
        statement = statement.where(inspection.captured_at >= since)
    rows = session.connection().execute(statement)
    return [
        PairingCounts(
            station=row[0],
            champion=row[1],
            challenger=row[2],
            is_simulated=row[3],
            concordant=int(row[4]),
            discordant=int(row[5]),
            errors=int(row[6]),
            challenger_right=int(row[7]),
            challenger_wrong=int(row[8]),
            first_at=row[9],
            last_at=row[10],
        )
        for row in rows
    ]


def undrawn_discordant(session: Session, through_id: int, newest: int) -> list[tuple[int, str]]:
    """Ids of discordant inspections without an audit among the newest verdicts, with their challengers.

    Args:
        session: to read with.
        through_id: inspections above it are left out.
        newest: how many verdicts to look at.
    """
    shadow, inspection, audit = (columns_of(row).c for row in (ShadowVerdict, Inspection, Audit))
    last_id = session.connection().execute(sa_select(func.max(shadow.id))).scalar() or 0
    statement = (
        _joined(inspection.id, shadow.package_id)
        .where(shadow.id > last_id - newest, inspection.id <= through_id, _discordant(), audit.id.is_(None))
        .order_by(shadow.id)
    )
    return [(row[0], row[1]) for row in session.connection().execute(statement)]


def drawn_discordant(session: Session) -> list[tuple[str, Any]]:
    """Challenger and state of every audit that a disagreement brought about."""
    shadow, audit = columns_of(ShadowVerdict).c, columns_of(Audit).c
    statement = _joined(shadow.package_id, audit.state).where(audit.is_discordant.is_(True))
    return [(row[0], row[1]) for row in session.connection().execute(statement)]


def drop_of(session: Session, inspection_ids: Sequence[int | None]) -> None:
    """Delete the verdicts on these inspections."""
    shadow, inspection = columns_of(ShadowVerdict), columns_of(Inspection).c
    is_of_them = exists().where(
        inspection.id.in_(inspection_ids),
        inspection.station_id == shadow.c.station_id,
        inspection.epoch == shadow.c.epoch,
        inspection.sequence == shadow.c.sequence,
    )
    session.connection().execute(delete(shadow).where(is_of_them))


def _pairs(wanted: Pairing) -> Any:
    shadow, inspection, audit = (columns_of(row).c for row in (ShadowVerdict, Inspection, Audit))
    address = columns_of(Station).c.address
    statement = _joined(
        shadow.id,
        inspection.id,
        address,
        inspection.package_id,
        inspection.captured_at,
        inspection.verdict,
        shadow.verdict,
        shadow.champion_infer_ms,
        shadow.infer_ms,
        audit.outcome,
        audit.settled_at,
    ).where(shadow.package_id == wanted.challenger)
    for column, value in (
        (inspection.package_id, wanted.champion),
        (address, wanted.station),
        (inspection.is_simulated, wanted.is_simulated),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return statement


def _joined(*columns: Any) -> Any:
    shadow, inspection, audit, station = (columns_of(row) for row in (ShadowVerdict, Inspection, Audit, Station))
    return (
        sa_select(*columns)
        .select_from(shadow)
        .join(
            inspection,
            and_(
                inspection.c.station_id == shadow.c.station_id,
                inspection.c.epoch == shadow.c.epoch,
                inspection.c.sequence == shadow.c.sequence,
            ),
        )
        .join(station, station.c.id == shadow.c.station_id)
        # What one part was asked again for counts once, by its outcome.
        .outerjoin(audit, and_(audit.c.inspection_id == inspection.c.id, audit.c.ask == 1))
        # A part that the champion did not judge has nothing to be compared with.
        .where(inspection.c.verdict != Verdict.NO_DECISION, inspection.c.package_id.is_not(None))
    )


def _discordant() -> Any:
    """As `contracts.reports.is_discordant` says; the champion has judged."""
    shadow, inspection = columns_of(ShadowVerdict).c, columns_of(Inspection).c
    return and_(
        shadow.verdict != Verdict.NO_DECISION, (shadow.verdict == Verdict.OK) != (inspection.verdict == Verdict.OK)
    )


def _firm() -> Any:
    return columns_of(Audit).c.outcome.in_((Judgement.GOOD, Judgement.DEFECTIVE))


def _number(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))


def _pair(row: Sequence[Any]) -> ShadowPair:
    return ShadowPair(*row)
