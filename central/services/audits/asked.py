# SPDX-License-Identifier: Apache-2.0
"""Asks people about parts from whose judgement a training would learn most, beside the audits that chance draws.

The parts are chosen (`quality/asking.py`), so they stand in no rate: `asked_because`, an inclusion probability of 0 and
no shift. Chosen are only parts that the random draw has passed by, so it stays what it is, and no part on which a
challenger's verdict differs: those are drawn by chance, and the gates of a rollout rest on that. A number a shift,
spread over its time; people get them after all audits. Called by `services/audits/auditing.py`.

What tells parts apart is how their package embeds them; where most of them come without an embedding (a package from
before reports carried them), what stations measure of a picture: brightness, contrast, blur and colour.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, func, select

from central.audit_settings import AuditSettings
from central.domain.shifts import ShiftPlan
from central.quality.asking import AskReason, choose, disagreement, novelty, standardised, uncertainty
from central.quality.sampling import allocate_budget
from central.store.database import Database
from central.store.embeddings import BYTES, unpacked
from central.store.repositories import evidence
from central.store.shadow_tables import ShadowVerdict
from central.store.tables import Audit, Inspection, LabelledPicture, Station, columns_of
from contracts.vocabulary import AuditState, Verdict, VerdictCause

_LOG = logging.getLogger(__name__)

# Of the budget, for each reason; what a reason cannot use goes to the others.
SHARES: Final = {AskReason.UNCERTAIN: 0.5, AskReason.NOVEL: 0.25, AskReason.DISAGREEMENT: 0.25}
# Of older parts the stations have no picture any more.
_NEWEST_PARTS: Final = 5_000
_MOST_SEEN: Final = 500
_MOST_KNOWN: Final = 20_000
_WAITING: Final = (AuditState.AWAITING_EVIDENCE, AuditState.OPEN)

Stream = tuple[str, str, bool]


@dataclass(frozen=True)
class _Part:
    id: int
    station_id: int
    epoch: int
    sequence: int
    part: str
    score: float
    ok_limit: float
    ng_limit: float
    other_score: float | None
    measures: tuple[float | None, ...]
    embedding: bytes | None


@dataclass(frozen=True)
class AskedNow:
    """How asking stands in the running shift: parts asked for, and waiting ones by reason."""

    budget: int
    asked: int
    waiting: dict[str, int]


def asked_now(session: Session, settings: AuditSettings, plan: ShiftPlan, now: datetime) -> AskedNow:
    """What the running shift has seen so far."""
    _, begins, _ = plan.running(now)
    is_asked = (col(Audit.asked_because).is_not(None), Audit.ask == 1)
    asked = session.exec(select(func.count()).select_from(Audit).where(*is_asked, Audit.drawn_at >= begins)).one()
    waiting = session.exec(
        select(Audit.asked_because, func.count())
        .where(*is_asked, col(Audit.state).in_(_WAITING))
        .group_by(col(Audit.asked_because))
    ).all()
    return AskedNow(settings.asked_per_shift, asked, {reason: count for reason, count in waiting if reason})


def room_now(standing: AskedNow, settings: AuditSettings, plan: ShiftPlan, now: datetime) -> int:
    """How many may be asked for: the shift's share so far less what was asked, and no more than may wait."""
    _, begins, ends = plan.running(now)
    over = (now - begins) / (ends - begins)
    due = min(settings.asked_per_shift, math.ceil(settings.asked_per_shift * over))
    return max(0, min(due - standing.asked, settings.asked_open - sum(standing.waiting.values())))


def draw_asked(database: Database, settings: AuditSettings, plan: ShiftPlan, through_id: int, now: datetime) -> int:
    """Choose parts and put them into the queue. Looks without the write lock; gives how many were added.

    Args:
        database: to read and write with.
        settings: `asked_per_shift` over all stations and products, of which `asked_open` may wait.
        plan: when shifts begin.
        through_id: the random draw has passed by every inspection up to this one.
        now: when they are asked for.
    """
    if not settings.asked_per_shift:
        return 0
    with database.read() as session:
        room = room_now(asked_now(session, settings, plan, now), settings, plan, now)
        if not room:
            return 0
        streams = _pool(session, through_id)
        names = sorted(streams)
        quotas = allocate_budget([len(streams[name]) for name in names], room)
        chosen = [
            (name, part, reason)
            for name, quota in zip(names, quotas, strict=True)
            for part, reason in _choose(session, name, streams[name], quota)
        ]
    if not chosen:
        return 0
    with database.begin() as session:
        added = sum(_add(session, stream, part, reason, now) for stream, part, reason in chosen)
    _LOG.info("parts asked for parts=%d of=%d", added, sum(map(len, streams.values())))
    return added


def _pool(session: Session, through_id: int) -> dict[Stream, list[_Part]]:
    """Parts that may be asked for, by product, package and kind."""
    part, shadow, audit = columns_of(Inspection).c, columns_of(ShadowVerdict).c, columns_of(Audit).c
    said = shadow.verdict != Verdict.NO_DECISION
    measures = (part.brightness, part.contrast, part.blur, part.colour)
    wanted = (
        sa_select(
            part.id, part.station_id, part.epoch, part.sequence, part.part_id, part.score, part.ok_limit,
            part.ng_limit, shadow.score, *measures, part.product, part.package_id, part.is_simulated,
            columns_of(Station).c.address, part.embedding,
        )
        .select_from(columns_of(Inspection))
        .join(columns_of(Station), columns_of(Station).c.id == part.station_id)
        .outerjoin(
            columns_of(ShadowVerdict),
            and_(
                shadow.station_id == part.station_id,
                shadow.epoch == part.epoch,
                shadow.sequence == part.sequence,
            ),
        )
        .outerjoin(columns_of(Audit), and_(audit.inspection_id == part.id, audit.ask == 1))
        .where(
            part.id > through_id - _NEWEST_PARTS,
            part.id <= through_id,
            part.cause == VerdictCause.SCORE,
            part.score.is_not(None),
            part.ok_limit.is_not(None),
            part.ng_limit.is_not(None),
            part.product.is_not(None),
            part.package_id.is_not(None),
            audit.id.is_(None),
            or_(shadow.id.is_(None), ~said, (shadow.verdict == Verdict.OK) == (part.verdict == Verdict.OK)),
        )
        .order_by(part.id)
    )  # fmt: skip
    streams: dict[Stream, list[_Part]] = defaultdict(list)
    for row in session.connection().execute(wanted):
        number, station_id, epoch, sequence, part_id, score, ok_limit, ng_limit, other, *rest = row
        *values, product, package_id, is_simulated, address, embedding = rest
        name = part_id or f"{address}/{epoch}/{sequence}"
        streams[product, package_id, is_simulated].append(
            _Part(number, station_id, epoch, sequence, name, score, ok_limit, ng_limit, other, tuple(values), embedding)
        )
    return streams


def _choose(session: Session, stream: Stream, parts: Sequence[_Part], quota: int) -> list[tuple[_Part, AskReason]]:
    if not quota:
        return []
    product, package_id, is_simulated = stream
    known = _judged_parts(session, product, is_simulated=is_simulated)
    parts = [part for part in parts if part.part not in known]
    if not parts:
        return []
    length = _embedded_length(parts)
    if length:
        told = _embeddings([part.embedding for part in parts], length)
        judged = _embeddings(_seen_embedded(session, product, package_id, is_simulated=is_simulated), length)
    else:
        told = _floats([part.measures for part in parts])
        judged = _seen(session, product, is_simulated=is_simulated)
    features, seen = standardised(told, judged)
    score = np.array([part.score for part in parts])
    low, high = (np.array([getattr(part, name) for part in parts]) for name in ("ok_limit", "ng_limit"))
    strengths = {
        AskReason.UNCERTAIN: uncertainty(score, low, high),
        AskReason.NOVEL: novelty(features, seen) if (features != 0).any() else np.zeros(len(parts)),
        AskReason.DISAGREEMENT: disagreement(score, _floats([(part.other_score,) for part in parts])[:, 0]),
    }
    chosen = choose(strengths, features, seen, [part.part for part in parts], quota, shares=SHARES)
    return [(parts[each.index], each.reason) for each in chosen]


def _judged_parts(session: Session, product: str, *, is_simulated: bool) -> set[str]:
    """Parts of which a picture is judged: another picture of them teaches little."""
    label = LabelledPicture
    wanted = (
        select(label.part_id)
        .where(label.product == product, label.is_simulated == is_simulated)
        .order_by(col(label.added_at).desc())
        .limit(_MOST_KNOWN)
    )
    return {name for name in session.exec(wanted).all() if name}


def _seen(session: Session, product: str, *, is_simulated: bool) -> NDArray[np.float64]:
    """Measures of the newest parts that people were asked about, whoever asked."""
    part = Inspection
    wanted = (
        select(part.brightness, part.contrast, part.blur, part.colour)
        .join(Audit, col(Audit.inspection_id) == col(part.id))
        .where(Audit.product == product, Audit.is_simulated == is_simulated, Audit.ask == 1)
        .order_by(col(Audit.id).desc())
        .limit(_MOST_SEEN)
    )
    return _floats(session.exec(wanted).all())


def _embedded_length(parts: Sequence[_Part]) -> int:
    """Bytes of an embedding, where most parts have one of the same length; else 0."""
    [(length, count)] = Counter(len(part.embedding or b"") for part in parts).most_common(1)
    return length if 2 * count > len(parts) else 0


def _seen_embedded(session: Session, product: str, package_id: str, *, is_simulated: bool) -> Sequence[bytes | None]:
    """As `_seen`, of parts that this package embedded: those of another one lie elsewhere."""
    part = Inspection
    wanted = (
        select(part.embedding)
        .join(Audit, col(Audit.inspection_id) == col(part.id))
        .where(
            Audit.product == product, Audit.is_simulated == is_simulated, Audit.ask == 1, part.package_id == package_id
        )
        .order_by(col(Audit.id).desc())
        .limit(_MOST_SEEN)
    )
    return session.exec(wanted).all()


def _embeddings(rows: Sequence[bytes | None], length: int) -> NDArray[np.float64]:
    """[n, k]; without one of this length a row is not a number."""
    made = np.full((len(rows), length // BYTES), np.nan)
    for place, row in enumerate(rows):
        if row is not None and len(row) == length:
            made[place] = unpacked([row])[0]
    return made


def _floats(rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """[n, k]; what is not known is not a number."""
    made = np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)
    return made if len(rows) else np.empty((0, 4))


def _add(session: Session, stream: Stream, part: _Part, reason: AskReason, now: datetime) -> bool:
    # Chosen without the write lock: it may have been put into the queue since.
    if session.exec(select(Audit.id).where(Audit.inspection_id == part.id, Audit.ask == 1)).first() is not None:
        return False
    crop = evidence.stored_crop(session, part.station_id, part.epoch, part.sequence)
    session.add(
        Audit(
            inspection_id=part.id,
            product=stream[0],
            drawn_at=now,
            stratum=f"asked:{reason}",
            inclusion_probability=0.0,
            state=AuditState.AWAITING_EVIDENCE if crop is None else AuditState.OPEN,
            crop_sha256=crop,
            opened_at=None if crop is None else now,
            is_floor=False,
            asked_because=reason.value,
            is_simulated=stream[2],
        )
    )
    return True
