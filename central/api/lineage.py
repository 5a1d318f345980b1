# SPDX-License-Identifier: Apache-2.0
"""`/lineage`: which labels taught what judges where, and what came of a dataset version. Reads only."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from sqlmodel import Session

from central.api.auth import ServicesOf, allow
from central.api.lineage_schemas import LabelsView, LineageRollout, LineageStation, LineageTraining, LineageView
from central.foundation import Services
from central.services.trainings import lineage
from contracts.ids import Name, PackageId, Sha256
from contracts.vocabulary import Role

router = APIRouter(prefix="/lineage", tags=["lineage"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("/packages/{package_id}", summary="From labels to stations, by way of a package")
def get_of_package(services: ServicesOf, package_id: Annotated[PackageId, Path()]) -> LineageView:
    """Its dataset version with whose labels it holds, its training, gate, rollouts, and the stations that run it."""
    with services.database.read() as session:
        return lineage_view(session, services, lineage.of_package(session, package_id))


@router.get("/stations/{site}/{line}/{station}", summary="Which labels taught what judges at a station now")
def get_of_station(services: ServicesOf, site: Name, line: Name, station: Name) -> list[LineageView]:
    """Of each package that it says it judges with; where it never said, of those that it should run."""
    with services.database.read() as session:
        found = lineage.of_station(session, f"{site}/{line}/{station}")
        return [lineage_view(session, services, each) for each in found]


@router.get("/datasets/{dataset_id}", summary="What came of a dataset version")
def get_of_dataset(services: ServicesOf, dataset_id: Annotated[Sha256, Path()]) -> list[LineageView]:
    """Every package that learnt from it, oldest first, each with its stations."""
    with services.database.read() as session:
        return [lineage_view(session, services, each) for each in lineage.of_dataset(session, dataset_id)]


def lineage_view(session: Session, services: Services, found: lineage.PackageLineage) -> LineageView:
    """As the API tells it."""
    package, training = found.package, found.training
    labels = None
    if found.dataset is not None:
        labels = LabelsView(**asdict(lineage.labels_of(session, services.blobs, found.dataset.dataset_id)))
    return LineageView(
        **package.model_dump(include={"package_id", "product", "is_simulated", "created_at"}),
        is_champion=found.is_champion,
        dataset_id=found.dataset.dataset_id if found.dataset is not None else None,
        labels=labels,
        training=None
        if training is None
        else LineageTraining(
            **training.model_dump(include={"training_id", "reason", "created_at", "champion_package_id"})
        ),
        outcome=found.outcome,
        gate=found.gate,
        overruled_by=found.overruled_by,
        rollouts=[LineageRollout(**asdict(each)) for each in found.rollouts],
        stations=[LineageStation(**asdict(each)) for each in found.stations],
        challenged_by=found.challenged_by,
    )
