# SPDX-License-Identifier: Apache-2.0
"""`/trainings/queue`: what runs, what waits, and why. Included before `/trainings/{training_id}`, which would match."""

from fastapi import APIRouter, Depends
from sqlmodel import col, select

from central.api.auth import ServicesOf, allow
from central.api.training_schemas import QueuedTraining, QuotaView, TrainingQueueView
from central.api.trainings import loop_of
from central.domain.training_queue import SiteQuota
from central.services.trainings.queue import in_line
from central.store.learning_tables import Training
from contracts.vocabulary import Role, TrainingState

router = APIRouter(prefix="/trainings", tags=["trainings"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("/queue", summary="The queue of trainings")
def get_training_queue(services: ServicesOf) -> TrainingQueueView:
    """Why each waits is worked out now; a place is given within a second or two."""
    queue = loop_of(services).learning.queue
    with services.database.read() as session:
        made = queue.plan(session)
        alive = col(Training.state).in_([TrainingState.QUEUED, TrainingState.RUNNING])
        rows = in_line(list(session.exec(select(Training).where(alive)).all()))
        gpus = queue.gpus_held(session)
    told = {**made.waits, **made.hopeless}
    quotas = queue.quotas
    return TrainingQueueView(
        all=QuotaView(jobs=quotas.jobs, gpus=quotas.gpus),
        each_site=_quota(quotas.each_site),
        sites={site: _quota(quota) for site, quota in quotas.sites.items()},
        trainings=[
            QueuedTraining(
                training_id=row.training_id,
                product=row.product,
                trigger=row.trigger,
                site=row.site,
                state=row.state,
                gpus=gpus.get(row.training_id, queue.gpus_each if row.state is TrainingState.QUEUED else 0.0),
                queued_at=row.queued_at or row.created_at,
                preemptions=row.preemptions,
                # A cluster that does not answer, or one that gives way, stands in the stage.
                waits_for=told.get(row.training_id)
                or (row.stage if row.stage.startswith(("waiting", "giving")) else ""),
            )
            for row in rows
        ],
    )


def _quota(quota: SiteQuota) -> QuotaView:
    return QuotaView(jobs=quota.jobs, gpus=quota.gpus)
