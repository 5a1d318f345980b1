# SPDX-License-Identifier: Apache-2.0
"""The queue of trainings as rows: what starts next, what gives way, and why each of the others waits.

Decides by `domain.training_queue`; starts and ends nothing itself: it marks rows, and `services/trainings/learning.py`
acts on them, so that a kill in between costs nothing. Used by the learning tick and by the routes.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.domain.training_queue import PRIORITY, Plan, Quotas, Running, SiteQuota, Waiting, make_plan
from central.learning_settings import QueueSettings, site_quotas
from central.store.database import Database
from central.store.learning_tables import Training
from central.store.training_tables import TrainingAttempt
from contracts.vocabulary import AttemptEnd, TrainingState

_LOG = logging.getLogger(__name__)
WAITING: Final = "waiting: "


@dataclass(frozen=True)
class Turn:
    """What to do now. `hopeless`: those that can never start, and why."""

    starts: list[str]
    hopeless: dict[str, str]


class TrainingQueue:
    """See the module."""

    def __init__(self, database: Database, settings: QueueSettings, gpus: float) -> None:
        """`gpus`: that one training takes where new ones go."""
        self._database: Final = database
        self._settings: Final = settings
        self.gpus_each: Final = gpus
        each = SiteQuota(settings.jobs_per_site, settings.gpus_per_site)
        named = {site: SiteQuota(jobs, gpus_) for site, (jobs, gpus_) in site_quotas(settings.sites).items()}
        self.quotas: Final = Quotas(settings.jobs, settings.gpus, each, named)

    def turn(self, now: datetime) -> Turn:
        """Mark those that are to give way, write down why the others wait, and say what may start."""
        with self._database.read() as session:
            made = self.plan(session)
            stages = {
                row.training_id: row.stage
                for row in _rows(session, TrainingState.QUEUED)
                if row.cancel_asked_at is None
            }
        words = {training_id: f"{WAITING}{why}" for training_id, why in made.waits.items()}
        news = {training_id: stage for training_id, stage in words.items() if stages.get(training_id) != stage}
        if news or made.yields:
            self._write(news, made.yields, now)
        return Turn(made.starts, made.hopeless)

    def plan(self, session: Session) -> Plan:
        """What a turn would do now."""
        taken = self.gpus_held(session)
        running = [
            Running(
                row.training_id,
                PRIORITY[row.trigger],
                row.started_at or row.created_at,
                row.site,
                taken.get(row.training_id, 0.0),
                is_leaving=row.stop_asked_at is not None or row.cancel_asked_at is not None,
                may_yield=self._settings.is_preemptive and row.preemptions < self._settings.most_preemptions,
            )
            for row in _rows(session, TrainingState.RUNNING)
        ]
        waiting = [
            Waiting(row.training_id, PRIORITY[row.trigger], row.created_at, row.site, self.gpus_each)
            for row in _rows(session, TrainingState.QUEUED)
            if row.cancel_asked_at is None
        ]
        return make_plan(waiting, running, self.quotas)

    def gpus_held(self, session: Session) -> dict[str, float]:
        """By training, of the attempts that have not ended."""
        open_ones = session.exec(select(TrainingAttempt).where(col(TrainingAttempt.ended_at).is_(None))).all()
        return {attempt.training_id: attempt.gpus for attempt in open_ones}

    def _write(self, stages: dict[str, str], yields: dict[str, str], now: datetime) -> None:
        with self._database.begin() as session:
            for training_id, stage in stages.items():
                row = session.get_one(Training, training_id)
                if row.state is TrainingState.QUEUED and row.cancel_asked_at is None:
                    row.stage = stage
                    session.add(row)
            for training_id, for_whom in yields.items():
                row = session.get_one(Training, training_id)
                if row.state is TrainingState.RUNNING and row.stop_asked_at is None and row.cancel_asked_at is None:
                    row.stop_asked_at, row.stop_because = now, AttemptEnd.PREEMPTED
                    row.stage = f"giving way to {for_whom}"
                    session.add(row)
                    _LOG.warning("training gives way training_id=%s to=%s", training_id, for_whom)


def in_line(rows: list[Training]) -> list[Training]:
    """Running ones first, then the queue in its order."""
    return sorted(
        rows,
        key=lambda row: (row.state is TrainingState.QUEUED, -PRIORITY[row.trigger], row.created_at, row.training_id),
    )


def _rows(session: Session, state: TrainingState) -> list[Training]:
    return list(session.exec(select(Training).where(Training.state == state)).all())
