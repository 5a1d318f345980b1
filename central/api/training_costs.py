# SPDX-License-Identifier: Apache-2.0
"""`/trainings/costs` and `/trainings/{id}/attempts`: what trainings used and cost. Real and simulated apart."""

from collections import defaultdict
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.training_schemas import AttemptView, TrainingCosts, TrainingCostsView
from central.api.trainings import TrainingNumber, find_training, spent_view
from central.services.trainings.usage import attempts_of, spent_of
from central.store.learning_tables import Package, Promotion, Training
from central.store.training_tables import TrainingAttempt
from contracts.vocabulary import PromotionOutcome, Role

router = APIRouter(prefix="/trainings", tags=["trainings"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("/costs", summary="What trainings cost, and each accepted improvement")
def get_training_costs(
    services: ServicesOf,
    days: Annotated[float, Query(gt=0, le=3650, description="trainings asked for since then")] = 90.0,
) -> TrainingCostsView:
    """By product. Failed, cancelled and refused ones count: an accepted one carries what the others cost."""
    since = services.clock.now() - timedelta(days=days)
    with services.database.read() as session:
        products = _products(session, list(session.exec(select(Training).where(Training.created_at >= since)).all()))
    return TrainingCostsView(since=since, watts_per_core=services.settings.cost.watts_per_core, products=products)


@router.get("/{training_id}/attempts", summary="Every start of a training")
def get_training_attempts(services: ServicesOf, training_id: TrainingNumber) -> list[AttemptView]:
    """In their order, with what each used and how it ended."""
    with services.database.read() as session:
        find_training(session, training_id)
        rows = attempts_of(session, training_id)
    return [
        AttemptView(
            number=row.number,
            backend=row.backend,
            queued_at=row.queued_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            end=row.end,
            spent=spent_view(spent_of([row])),
        )
        for row in rows
    ]


def _products(session: Session, trainings: list[Training]) -> list[TrainingCosts]:
    attempts: dict[str, list[TrainingAttempt]] = defaultdict(list)
    # One question for all: the oldest of them bounds what is read.
    ids = {row.training_id for row in trainings}
    for attempt in session.exec(select(TrainingAttempt).order_by(col(TrainingAttempt.queued_at))).all():
        if attempt.training_id in ids:
            attempts[attempt.training_id].append(attempt)
    promoted = set(
        session.exec(
            select(Package.training_id)
            .join(Promotion, col(Promotion.package_id) == col(Package.package_id))
            .where(Promotion.outcome == PromotionOutcome.PROMOTED)
        ).all()
    )
    groups: dict[tuple[str, bool], list[Training]] = defaultdict(list)
    for row in trainings:
        groups[row.product, row.is_simulated].append(row)
    return [
        _costs(product, is_simulated, rows, attempts, accepted=sum(row.training_id in promoted for row in rows))
        for (product, is_simulated), rows in sorted(groups.items())
    ]


def _costs(
    product: str, is_simulated: bool, rows: list[Training], attempts: dict[str, list[TrainingAttempt]], *, accepted: int
) -> TrainingCosts:
    spent = spent_of(attempt for row in rows for attempt in attempts[row.training_id])

    def each(value: float | None) -> float | None:
        return value / accepted if accepted and value is not None else None

    return TrainingCosts(
        product=product,
        is_simulated=is_simulated,
        trainings=len(rows),
        without_attempts=sum(not attempts[row.training_id] for row in rows),
        accepted=accepted,
        spent=spent_view(spent),
        cost_per_accepted=each(spent.cost),
        wall_s_per_accepted=each(spent.wall_s),
        energy_wh_per_accepted=each(spent.energy_wh),
    )
