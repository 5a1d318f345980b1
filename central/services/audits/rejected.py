# SPDX-License-Identifier: Apache-2.0
"""Draws rejected parts for audit, so that overkill is known: how many of them are good.

NG and REVIEW parts are strata of their own beside the accepted ones, with a budget of their own. They are no reviews:
chance asks, whatever the machine asked before, so their chance is stored and they may stand in a rate. Every part has
the same chance, since the score of a reject says little of whether it was rightly rejected, and the same in each draw
as long as the share rules: few parts a draw then still give an exact interval. Called by `services/audits/auditing.py`
in the transaction of its draw, with the same mark.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from sqlalchemy import select as sa_select
from sqlmodel import Session

from central.audit_settings import AuditSettings
from central.quality.sampling import draw_share
from central.services.audits.rows import Draw, add_audit
from central.store.tables import Inspection, columns_of
from contracts.vocabulary import Verdict

REJECTED: Final = (Verdict.NG, Verdict.REVIEW)


@dataclass(frozen=True)
class RejectedPart:
    """A part that was not passed, as the draw needs it."""

    id: int
    station_id: int
    epoch: int
    sequence: int
    product: str | None
    verdict: Verdict
    is_simulated: bool


def rejected_between(session: Session, after_id: int, through_id: int, limit: int) -> list[RejectedPart]:
    """Rejected parts above one mark, up to another, oldest first."""
    c = columns_of(Inspection).c
    wanted = (
        sa_select(c.id, c.station_id, c.epoch, c.sequence, c.product, c.verdict, c.is_simulated)
        .where(c.id > after_id, c.id <= through_id, c.verdict.in_(REJECTED))
        .order_by(c.id)
        .limit(limit)
    )
    return [RejectedPart(*row) for row in session.connection().execute(wanted)]


def draw_rejected(
    session: Session,
    parts: Sequence[RejectedPart],
    settings: AuditSettings,
    rng: np.random.Generator,
    now: datetime,
) -> int:
    """Draw from each station × product × verdict. Returns the number of new audits.

    Args:
        session: to write with.
        parts: all rejected parts since the last draw.
        settings: `rejected_share` of them, at most `rejected_most` of each of those.
        rng: who decides.
        now: when they are drawn.
    """
    strata: defaultdict[tuple[int, str | None, Verdict, bool], list[RejectedPart]] = defaultdict(list)
    for part in parts:
        strata[part.station_id, part.product, part.verdict, part.is_simulated].append(part)
    drawn = 0
    for (station_id, product, verdict, _), members in strata.items():
        index, chance = draw_share(len(members), settings.rejected_share, settings.rejected_most, rng)
        stratum = f"{station_id}:{product or ''}:{verdict.value}:{members[0].id}-{members[-1].id}"
        for position in index:
            add_audit(session, members[int(position)], Draw(stratum, len(members), now), chance)
        drawn += len(index)
    return drawn
