# SPDX-License-Identifier: Apache-2.0
"""Plants judged parts among the new audits a second time, to see how far inspectors agree with themselves and others.

A repeat is a row like any other; nothing that an inspector is given tells it apart, and its answer changes no outcome.
Parts are chosen by chance among all settled ones, since errors on good and on defective parts both count. Called by
`services/audits/auditing.py` after each draw.
"""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from central.audit_settings import AuditSettings
from central.quality.agreement import plant_repeats
from central.store.repositories.audits import ask_again
from central.store.repositories.chance import is_by_chance
from central.store.tables import Audit
from contracts.vocabulary import Judgement

# Settled parts to choose among, the newest: older ones tell how people judged then.
_NEWEST_SETTLED: Final = 2_000


def plant(session: Session, settings: AuditSettings, rng: np.random.Generator, drawn: int, now: datetime) -> int:
    """Show judged parts again, in proportion to what was drawn. Returns how many.

    Args:
        session: to read and write with.
        settings: `repeat_share` of the drawn ones, settled `repeat_after_s` ago or earlier.
        rng: who decides.
        drawn: new audits since the last time.
        now: when they are put into the queue.
    """
    if drawn == 0 or settings.repeat_share == 0.0:
        return 0
    other = aliased(Audit)
    is_repeated = exists().where(col(other.inspection_id) == col(Audit.inspection_id), col(other.is_repeat).is_(True))
    settled = session.exec(
        select(Audit)
        .where(
            Audit.ask == 1,
            col(Audit.outcome).in_((Judgement.GOOD, Judgement.DEFECTIVE)),
            col(Audit.settled_at) <= now - timedelta(seconds=settings.repeat_after_s),
            is_by_chance(Audit),
            col(Audit.crop_sha256).is_not(None),
            ~is_repeated,
        )
        .order_by(col(Audit.settled_at).desc(), col(Audit.id).desc())
        .limit(_NEWEST_SETTLED)
    ).all()
    planted = plant_repeats(drawn, len(settled), settings.repeat_share, rng)
    for _, index in planted:
        first = settled[index]
        newest = session.exec(
            select(Audit.ask).where(Audit.inspection_id == first.inspection_id).order_by(col(Audit.ask).desc())
        ).first()
        session.add(ask_again(first, (newest or 1) + 1, now, is_repeat=True))
    return len(planted)
