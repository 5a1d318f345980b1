# SPDX-License-Identifier: Apache-2.0
"""`/datasets`: what trainings learnt from, with the provenance of every label. Makes none: trainings do."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.learning_schemas import DatasetView, SuspectLabels, SuspectsSent
from central.dataset_export import labels_csv
from central.services.trainings.datasets import find_version
from central.services.trainings.suspect_labels import send_back
from central.store.dataset_files import MEDIA_TYPE, from_parquet
from central.store.dataset_tables import DatasetVersion
from central.store.learning_tables import Package, Training
from contracts.ids import Name, Sha256
from contracts.vocabulary import Role

router = APIRouter(prefix="/datasets", tags=["datasets"], dependencies=[Depends(allow(Role.VIEWER))])

DatasetId = Annotated[Sha256, Path()]
_FILE = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("", summary="Dataset versions, newest first")
def list_datasets(
    services: ServicesOf, product: Name | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[DatasetView]:
    """All of them, or those of one product."""
    wanted = select(DatasetVersion).order_by(col(DatasetVersion.created_at).desc()).limit(limit)
    if product is not None:
        wanted = wanted.where(DatasetVersion.product == product)
    with services.database.read() as session:
        return [_view(session, row) for row in session.exec(wanted).all()]


@router.get("/{dataset_id}", summary="One dataset version")
def get_dataset(services: ServicesOf, dataset_id: DatasetId) -> DatasetView:
    """With its query, and what was learnt from it."""
    with services.database.read() as session:
        return _view(session, find_version(session, dataset_id))


@router.get(
    "/{dataset_id}/manifest.parquet",
    summary="The manifest as a file",
    response_class=Response,
    responses=_FILE,  # type: ignore[arg-type]  # FastAPI asks for int | str as keys
)
def get_manifest(services: ServicesOf, dataset_id: DatasetId) -> Response:
    """Parquet: a row a picture with its digest, label, side, and who gave the label when; never changed."""
    with services.database.read() as session:
        row = find_version(session, dataset_id)
    headers = {
        "ETag": f'"{row.file_sha256}"',
        "Content-Disposition": f'attachment; filename="{row.product}-{dataset_id[:12]}.parquet"',
    }
    return Response(services.blobs.read(row.file_sha256), media_type=MEDIA_TYPE, headers=headers)


@router.get(
    "/{dataset_id}/labels.csv",
    summary="The labels as `sightline-models` reads them",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_labels(services: ServicesOf, dataset_id: DatasetId) -> Response:
    """For `--labels`, with pictures named by their digest as `sightline-central export-dataset` lays them out."""
    with services.database.read() as session:
        row = find_version(session, dataset_id)
    _, records = from_parquet(services.blobs.read(row.file_sha256))
    headers = {"Content-Disposition": f'attachment; filename="{row.product}-{dataset_id[:12]}.csv"'}
    return Response(labels_csv(records), media_type="text/csv; charset=utf-8", headers=headers)


@router.post(
    "/{dataset_id}/suspects", summary="Send suspect labels back to people", dependencies=[Depends(allow(Role.ENGINEER))]
)
def send_suspects(services: ServicesOf, dataset_id: DatasetId, given: SuspectLabels) -> SuspectsSent:
    """The most suspect first, as many as may wait (`audit.suspects_open`). The answer replaces the label."""
    ordered = sorted(given.suspect_labels, key=lambda each: -each.suspicion)
    with services.database.begin() as session:
        most = services.settings.audit.suspects_open
        sent = send_back(session, dataset_id, [each.sha256 for each in ordered], most, services.clock.now())
    return SuspectsSent(asked=sent.asked, waiting=sent.waiting, left_out=sent.left_out)


def _view(session: Session, row: DatasetVersion) -> DatasetView:
    trainings = session.exec(
        select(Training.training_id).where(Training.dataset_id == row.dataset_id).order_by(col(Training.created_at))
    ).all()
    packages = session.exec(
        select(Package.package_id).where(Package.dataset_id == row.dataset_id).order_by(col(Package.registered_at))
    ).all()
    return DatasetView(**row.model_dump(), training_ids=list(trainings), package_ids=list(packages))
