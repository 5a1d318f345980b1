# SPDX-License-Identifier: Apache-2.0
"""Sends labels of a dataset version that are probably wrong back to people, who are told neither label nor suspicion.

What is suspect is found elsewhere (`sightline-models clean`: out-of-fold disagreement). Each becomes one more asking
about its part, in the queue of audits after all others; who gave the label before does not get it. The answer replaces
the label (`repositories/audits.judge`) and no outcome: what an audit found stays in the rates as it was found.
Called by the routes.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, func, select

from central.services.trainings.datasets import find_version
from central.store.dataset_files import query_from_json
from central.store.repositories.audits import SUSPECT
from central.store.tables import Audit, LabelledPicture
from contracts.vocabulary import AuditState

_LOG = logging.getLogger(__name__)

UNKNOWN: Final = "no label of this dataset version"
REFERENCE: Final = "a reference part, which no station made: bring it again with another judgement"
ASKED_BEFORE: Final = "sent back before"
NO_ROOM: Final = "as many wait already as may (audit.suspects_open)"


@dataclass(frozen=True)
class SentBack:
    """How many labels were sent back, how many of all wait now, and why others were not sent."""

    asked: int
    waiting: int
    left_out: dict[str, int]


def waiting_suspects(session: Session) -> int:
    """Labels that were sent back and that nobody has judged yet."""
    wanted = select(func.count()).select_from(Audit)
    return session.exec(
        wanted.where(Audit.asked_because == SUSPECT, Audit.ask > 1, Audit.state == AuditState.OPEN)
    ).one()


def send_back(session: Session, dataset_id: str, suspects: Sequence[str], most: int, now: datetime) -> SentBack:
    """Ask again about the labels of these pictures, as long as there is room.

    Args:
        session: to read and write with.
        dataset_id: the version whose labels they are.
        suspects: digests of the pictures, the most suspect first.
        most: how many may wait at a time.
        now: when they are put into the queue.

    Raises:
        NotFoundError: no such version.
    """
    query = query_from_json(find_version(session, dataset_id).query)
    room = max(0, most - waiting_suspects(session))
    left_out, asked = Counter[str](), 0
    for sha256 in dict.fromkeys(suspects):
        label = session.exec(
            select(LabelledPicture).where(
                LabelledPicture.product == query.product,
                LabelledPicture.sha256 == sha256,
                LabelledPicture.is_simulated == query.is_simulated,
                LabelledPicture.added_at <= query.labelled_until,
            )
        ).first()
        why = UNKNOWN if label is None else _hindrance(session, label)
        if why is None and asked >= room:
            why = NO_ROOM
        if why is not None or label is None:
            left_out[why or UNKNOWN] += 1
            continue
        _ask(session, label, dataset_id, now)
        asked += 1
    _LOG.info("suspect labels sent back dataset_id=%s asked=%d of=%d", dataset_id, asked, len(suspects))
    return SentBack(asked, waiting_suspects(session), dict(left_out))


def _hindrance(session: Session, label: LabelledPicture) -> str | None:
    if label.inspection_id is None:
        return REFERENCE
    before = select(Audit.id).where(
        Audit.inspection_id == label.inspection_id, Audit.asked_because == SUSPECT, Audit.ask > 1
    )
    return None if session.exec(before).first() is None else ASKED_BEFORE


def _ask(session: Session, label: LabelledPicture, dataset_id: str, now: datetime) -> None:
    last = session.exec(
        select(Audit).where(Audit.inspection_id == label.inspection_id).order_by(col(Audit.ask).desc())
    ).first()
    session.add(
        Audit(
            inspection_id=label.inspection_id or 0,
            product=label.product,
            drawn_at=now,
            stratum=f"suspect:{dataset_id}",
            inclusion_probability=0.0,
            state=AuditState.OPEN,
            crop_sha256=label.sha256,
            opened_at=now,
            is_floor=False,
            asked_because=SUSPECT,
            is_simulated=label.is_simulated,
            ask=(last.ask if last else 0) + 1,
        )
    )
    session.flush()
