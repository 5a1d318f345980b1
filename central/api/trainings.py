# SPDX-License-Identifier: Apache-2.0
"""`/trainings`: what is being learned, from what, and what came of it. Runs nothing itself."""

from collections.abc import Sequence
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.learning_schemas import StartTraining, TrainingDecisionView, TrainingLogView, TrainingView
from central.api.training_schemas import SpentView
from central.errors import NotFoundError
from central.foundation import Services
from central.services.trainings.decisions import list_decisions
from central.services.trainings.learning_services import Loop
from central.services.trainings.usage import Spent, spent_of
from central.store.learning_tables import Training, TrainingDecisionRow
from central.store.training_tables import TrainingAttempt
from central.training_backends.results import LOG_NAME, read_page
from contracts.base import Whole
from contracts.ids import Name
from contracts.jobs import EvaluationReport
from contracts.vocabulary import Role, TrainingState

router = APIRouter(prefix="/trainings", tags=["trainings"], dependencies=[Depends(allow(Role.VIEWER))])

TrainingNumber = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_engineer = [Depends(allow(Role.ENGINEER))]


def loop_of(services: Services) -> Loop:
    """The services of the learning loop."""
    return cast("Loop", services.loop)


@router.get("", summary="Trainings, newest first")
def list_trainings(
    services: ServicesOf,
    product: Name | None = None,
    state: TrainingState | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[TrainingView]:
    """All of them, or those of one product or state."""
    wanted = select(Training).order_by(col(Training.created_at).desc()).limit(limit)
    if product is not None:
        wanted = wanted.where(Training.product == product)
    if state is not None:
        wanted = wanted.where(Training.state == state)
    with services.database.read() as session:
        return _views(session, session.exec(wanted).all())


# Before the route of one training: `decisions` would be the id of one.
@router.get("/decisions", summary="Why a training was started, and why none was, newest first")
def decisions(
    services: ServicesOf,
    product: Name | None = None,
    is_standing: Annotated[bool, Query()] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[TrainingDecisionView]:
    """Every change of a trigger's answer; `is_standing`: only what each of them says now."""
    with services.database.read() as session:
        rows = list_decisions(session, product, is_standing=is_standing, limit=limit)
        return [_decision(row) for row in rows]


@router.get("/{training_id}", summary="One training")
def get_training(services: ServicesOf, training_id: TrainingNumber) -> TrainingView:
    """With its evaluation once it has finished."""
    with services.database.read() as session:
        return _views(session, [find_training(session, training_id)])[0]


@router.get("/{training_id}/log", summary="What a training says")
def get_training_log(
    services: ServicesOf,
    training_id: TrainingNumber,
    offset: Annotated[Whole, Query(description="byte to begin at; negative: so many before the end")] = 0,
    limit: Annotated[int, Query(ge=4, le=262_144, description="bytes")] = 65_536,
) -> TrainingLogView:
    """A page of it, also while it runs. Of a cluster's: as of the last look. A further attempt follows under a mark."""
    with services.database.read() as session:
        # The state first: what is over has said all.
        is_over = find_training(session, training_id).state not in (TrainingState.QUEUED, TrainingState.RUNNING)
    path = services.settings.trainings_dir / training_id / LOG_NAME
    page = read_page(path, offset, limit, is_over=is_over)
    return TrainingLogView(
        training_id=training_id,
        text=page.text,
        offset=page.offset,
        next_offset=page.next_offset,
        size_bytes=page.size,
        is_over=is_over,
    )


@router.post(
    "",
    summary="Start a training",
    status_code=201,
    dependencies=_engineer,
    responses={409: {"description": "One is under way, or too few pictures are judged"}},
)
def start_training(services: ServicesOf, wanted: StartTraining) -> TrainingView:
    """Queued now, before what alarms and the schedule asked for; run as soon as the quotas allow.

    Real pictures are used where there are any, else simulated ones.
    """
    requests = loop_of(services).learning.requests
    training_id = requests.request(
        wanted.product, wanted.detector, wanted.reason, services.clock.now(), site=wanted.site
    )
    with services.database.read() as session:
        return _views(session, [find_training(session, training_id)])[0]


@router.post("/{training_id}/cancel", summary="Cancel", dependencies=_engineer)
def cancel_training(services: ServicesOf, training_id: TrainingNumber) -> TrainingView:
    """It ends within seconds; what it made so far is not used."""
    loop_of(services).learning.requests.cancel(training_id, services.clock.now())
    with services.database.read() as session:
        return _views(session, [find_training(session, training_id)])[0]


def find_training(session: Session, training_id: str) -> Training:
    """The row.

    Raises:
        NotFoundError: there is none.
    """
    row = session.get(Training, training_id)
    if row is None:
        raise NotFoundError(f"training {training_id!r}: no such training")
    return row


def spent_view(spent: Spent) -> SpentView:
    """As the API tells it."""
    return SpentView(
        attempts=spent.attempts,
        queue_wait_s=spent.waited_s,
        wall_s=spent.wall_s,
        cpu_s=spent.cpu_s,
        gpu_hours=spent.gpu_hours,
        peak_memory_bytes=spent.peak_memory_bytes,
        energy_wh=spent.energy_wh,
        cost=spent.cost,
        currency=spent.currency,
    )


def _views(session: Session, rows: Sequence[Training]) -> list[TrainingView]:
    attempts: dict[str, list[TrainingAttempt]] = {row.training_id: [] for row in rows}
    wanted = select(TrainingAttempt).where(col(TrainingAttempt.training_id).in_(attempts))
    for attempt in session.exec(wanted.order_by(col(TrainingAttempt.number))).all():
        attempts[attempt.training_id].append(attempt)
    return [_view(row, spent_of(attempts[row.training_id])) for row in rows]


def _decision(row: TrainingDecisionRow) -> TrainingDecisionView:
    return TrainingDecisionView.model_validate(row.model_dump())


def _view(row: Training, spent: Spent) -> TrainingView:
    return TrainingView(
        training_id=row.training_id,
        product=row.product,
        detector=row.detector,
        reason=row.reason,
        trigger=row.trigger,
        state=row.state,
        stage=row.stage,
        fraction=row.fraction,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        good=row.good,
        defective=row.defective,
        audit_labels=row.audit_labels,
        package_id=row.package_id,
        error=row.error,
        dataset_id=row.dataset_id,
        evaluation=EvaluationReport.model_validate_json(row.evaluation) if row.evaluation else None,
        backend=row.backend,
        handle=row.handle,
        starts=row.starts,
        losses=row.losses,
        site=row.site,
        preemptions=row.preemptions,
        spent=spent_view(spent),
        is_simulated=row.is_simulated,
    )
