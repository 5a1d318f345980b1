# SPDX-License-Identifier: Apache-2.0
"""What becomes of the champion and of alarms when a rollout has ended.

Called by `services/rollouts/moving.py` alone, in the transaction that ends it.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlmodel import Session

from central.domain.rollout_shapes import ENDED, Rollout
from central.domain.way_back import WayBack
from central.services.alarms import rows
from central.services.package_registry import set_champion
from central.services.rollouts.failures import rest_failures, tell_failure
from central.store.learning_tables import Alarm, Package, RolloutRow
from contracts.vocabulary import RolloutState

_LOG = logging.getLogger(__name__)


def end(
    session: Session,
    row: RolloutRow,
    after: Rollout,
    now: datetime,
    *,
    missed: Sequence[str],
    ways: Mapping[str, WayBack],
    left: Sequence[str],
) -> None:
    """What follows from the state that it has now; nothing while it goes on.

    Args:
        session: of the transaction that moves it.
        row: as it is stored now.
        after: its machine.
        now: the time.
        missed: stations that it left out (`services/rollouts/reach.py`); none: it was for everybody.
        ways: where its stations were sent back to.
        left: stations that it left with its package (`services/rollouts/reach.py`).
    """
    if after.state is RolloutState.FINISHED:
        _finish(session, row, now, missed)
    elif after.state is RolloutState.ERROR:
        tell_failure(session, row, after, now, ways, left=left)
        _LOG.error("rollout went back rollout_id=%s last=%s", row.id, after.history[-1])
    elif after.state in ENDED:
        _LOG.info("rollout ended by a person rollout_id=%s last=%s", row.id, after.history[-1])


def _finish(session: Session, row: RolloutRow, now: datetime, missed: Sequence[str]) -> None:
    """The champion moves when the rollout was for everybody; a trial at some stations leaves it where it is.

    So with the alarm behind it: other stations still let the defect pass, and closing would set their audit evidence
    aside.
    """
    if not missed:
        set_champion(session, session.get_one(Package, row.package_id), now)
        alarm = session.get(Alarm, row.alarm_id) if row.alarm_id is not None else None
        if alarm is not None:
            rows.close(alarm, f"rollout {row.id} finished", now)
            session.add(alarm)
        rest_failures(session, row, now)
    _LOG.info("rollout finished rollout_id=%s package_id=%s", row.id, row.package_id)
