# SPDX-License-Identifier: Apache-2.0
"""`/experiments`: what each training was given, how it went and what came of it; several side by side. Reads only."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from central.api.auth import ServicesOf, allow
from central.api.experiment_schemas import (
    ClassResult,
    ComparisonView,
    DifferenceView,
    ExperimentPage,
    ExperimentRollout,
    ExperimentView,
)
from central.api.trainings import TrainingNumber, spent_view
from central.api.views import plain_rate
from central.api.written import WrittenTime
from central.domain.experiments import ClassFigures, by_class, differences
from central.errors import InvalidError
from central.services.trainings.experiments import ExperimentRecord, find_experiments, list_experiments
from central.services.trainings.usage import spent_of
from contracts.ids import Name
from contracts.jobs import EvaluationReport
from contracts.vocabulary import Role

router = APIRouter(prefix="/experiments", tags=["experiments"], dependencies=[Depends(allow(Role.VIEWER))])

_MOST_BESIDE: Final = 8
_ID = r"[a-z0-9][a-z0-9_-]{0,62}"


@router.get("", summary="Trainings with all that was given and came of them, newest first")
def get_experiments(
    services: ServicesOf,
    *,
    product: Name | None = None,
    since: Annotated[WrittenTime | None, Query(description="asked for at or after")] = None,
    before_id: Annotated[str | None, Query(pattern=f"^{_ID}$", description="the last one of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ExperimentPage:
    """Also those that failed. Pages go back in time; curves come with `GET /experiments/{id}`."""
    with services.database.read() as session:
        found = list_experiments(session, product, since, before_id, limit)
    items = [experiment_view(each).model_copy(update={"curves": []}) for each in found]
    return ExperimentPage(items=items, next_id=items[-1].training_id if len(items) == limit else None)


# Before the route of one experiment: `compare` would be the id of one.
@router.get("/compare", summary="Several side by side, and in what they differ")
def compare_experiments(
    services: ServicesOf,
    ids: Annotated[str, Query(max_length=1000, description=f"2 … {_MOST_BESIDE} ids, separated by commas")],
) -> ComparisonView:
    """In the order that was asked for."""
    wanted = [each.strip() for each in ids.split(",") if each.strip()]
    if not 2 <= len(set(wanted)) == len(wanted) <= _MOST_BESIDE:
        expected = f"2 … {_MOST_BESIDE} different trainings separated by commas"
        raise InvalidError(f"ids: expected {expected}, got {ids[:80]!r}")
    with services.database.read() as session:
        views = [experiment_view(each) for each in find_experiments(session, wanted)]
    told = differences([_given(view) for view in views])
    return ComparisonView(
        experiments=views, differences=[DifferenceView(name=each.name, values=each.values) for each in told]
    )


@router.get("/{training_id}", summary="One training with all that was given and came of it")
def get_experiment(services: ServicesOf, training_id: TrainingNumber) -> ExperimentView:
    """With its curves."""
    with services.database.read() as session:
        return experiment_view(find_experiments(session, [training_id])[0])


def experiment_view(record: ExperimentRecord) -> ExperimentView:
    """As the API tells it."""
    row, given = record.training, record.given
    said = EvaluationReport.model_validate_json(row.evaluation) if row.evaluation else None
    return ExperimentView(
        training_id=row.training_id,
        product=row.product,
        is_simulated=row.is_simulated,
        detector=row.detector,
        trigger=row.trigger,
        reason=row.reason,
        state=row.state,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
        job_sha256=given.job_sha256 if given else None,
        laid_out_at=given.laid_out_at if given else None,
        parameters=given.parameters if given else {},
        labels=given.labels if given else {},  # type: ignore[arg-type]  # read from JSON by the shape
        made_by=given.made_by if given else None,  # type: ignore[arg-type]  # as above
        curves=given.curves if given else [],  # type: ignore[arg-type]  # as above
        dataset_id=row.dataset_id,
        dataset_pictures=record.dataset.pictures if record.dataset else None,
        package_id=row.package_id,
        champion_package_id=row.champion_package_id,
        made_detector=said.detector if said else None,
        candidate_variant=said.candidate_variant if said else None,
        backbone=said.backbone if said else None,
        training_seconds=said.training_seconds if said else None,
        variants=said.variants if said else [],
        classes=[_class(each) for each in by_class(said)] if said else [],
        champion_image_auroc=said.champion_image_auroc if said else None,
        notes=said.notes if said else [],
        outcome=record.promotion.outcome if record.promotion else None,
        overruled_by=record.overruled.by if record.overruled else None,
        rollouts=[
            ExperimentRollout(**each.model_dump(include={"id", "state", "created_at", "finished_at"}))
            for each in record.rollouts
        ],
        spent=spent_view(spent_of(record.attempts)),
    )


def _class(each: ClassFigures) -> ClassResult:
    return ClassResult(
        name=each.name,
        pictures=each.pictures,
        wrong=plain_rate(each.wrong, each.parts),
        champion=plain_rate(each.champion_wrong, each.parts) if each.champion_wrong is not None else None,
    )


def _given(view: ExperimentView) -> dict[str, object]:
    """What goes into a training. Its name, its times and what came of it differ anyway."""
    return {
        "parameters": view.parameters,
        "labels": {
            side: {name: count.model_dump() for name, count in classes.items()} for side, classes in view.labels.items()
        },
        "machine": view.made_by.model_dump() if view.made_by else {},
        "dataset_id": view.dataset_id,
        "champion_package_id": view.champion_package_id,
        "backbone": view.backbone,
    }
