# SPDX-License-Identifier: Apache-2.0
"""Puts parts on which champion and challenger disagree into the audit queue, where they go first.

The machine chose them, so they say nothing of how many parts are bad: they stand in no estimate (`is_discordant`, and
an inclusion probability of 0, with which an estimate fails instead of being wrong). To keep the random draw what it is,
only parts are taken that it has already passed by: which parts it gets, and in which order people see those, does not
depend on any challenger. Called by `services/audits/auditing.py` in the transaction of its own after each draw.
"""

import logging
from collections import Counter, defaultdict
from datetime import datetime
from typing import Final

import numpy as np
from sqlmodel import Session

from central.audit_settings import AuditSettings
from central.store.repositories import evidence, shadow
from central.store.tables import Audit, Inspection
from contracts.vocabulary import AuditState

_LOG = logging.getLogger(__name__)

# Verdicts looked at in one draw; of older ones the stations have no picture any more.
_NEWEST_VERDICTS: Final = 20_000
_WAITING: Final = (AuditState.AWAITING_EVIDENCE, AuditState.OPEN)


def draw_discordant(
    session: Session, settings: AuditSettings, rng: np.random.Generator, through_id: int, now: datetime
) -> int:
    """Draw by chance among the discordant parts of each challenger, as many as people can be asked for.

    Args:
        session: to read and write with.
        settings: `discordant_open` audits may wait for each challenger, `discordant_most` are drawn in all.
        rng: who decides when there are more parts than room.
        through_id: the random draw has passed by every inspection up to this one.
        now: when they are drawn.

    Returns:
        How many were put into the queue.
    """
    drawn, waiting = Counter[str](), Counter[str]()
    for challenger, state in shadow.drawn_discordant(session):
        drawn[challenger] += 1
        waiting[challenger] += AuditState(state) in _WAITING
    found: defaultdict[str, list[int]] = defaultdict(list)
    for inspection_id, challenger in shadow.undrawn_discordant(session, through_id, _NEWEST_VERDICTS):
        found[challenger].append(inspection_id)
    added = 0
    for challenger, parts in found.items():
        room = min(settings.discordant_open - waiting[challenger], settings.discordant_most - drawn[challenger])
        if room <= 0:
            continue
        for index in np.sort(rng.choice(len(parts), size=min(room, len(parts)), replace=False)):
            _add(session, parts[int(index)], challenger, now)
            added += 1
    if added:
        _LOG.info("audits of discordant parts audits=%d challengers=%d", added, len(found))
    return added


def _add(session: Session, inspection_id: int, challenger: str, now: datetime) -> None:
    part = session.get_one(Inspection, inspection_id)
    crop = evidence.stored_crop(session, part.station_id, part.epoch, part.sequence)
    session.add(
        Audit(
            inspection_id=inspection_id,
            product=part.product,
            drawn_at=now,
            stratum=f"discordant:{challenger}",
            inclusion_probability=0.0,
            state=AuditState.AWAITING_EVIDENCE if crop is None else AuditState.OPEN,
            crop_sha256=crop,
            opened_at=None if crop is None else now,
            is_floor=False,
            is_discordant=True,
            is_simulated=part.is_simulated,
        )
    )
