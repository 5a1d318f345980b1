# SPDX-License-Identifier: Apache-2.0
"""`/lineage/pictures` and `/lineage/inspections`: from a picture or a verdict to what it taught and was taught by."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from central.api.auth import ServicesOf, allow
from central.api.lineage import lineage_view
from central.api.lineage_schemas import InspectionLineage, PictureInVersion, PictureLabel, PictureLineage
from central.api.views import inspection_view
from central.services.trainings import picture_lineage
from central.services.trainings.picture_lineage import InVersion
from contracts.ids import Epoch, Name, Sequence, Sha256
from contracts.vocabulary import Role

router = APIRouter(prefix="/lineage", tags=["lineage"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("/pictures/{sha256}", summary="Which dataset versions and packages a picture is in")
def get_of_picture(services: ServicesOf, sha256: Annotated[Sha256, Path()]) -> PictureLineage:
    """Its label with who gave it, its inspections, each version that holds it, and what learnt from that."""
    with services.database.read() as session:
        return _view(picture_lineage.of_picture(session, services.blobs, sha256))


@router.get("/inspections/{site}/{line}/{station}/{epoch}/{sequence}", summary="What taught the package of a verdict")
def get_of_inspection(
    services: ServicesOf,
    *,
    site: Name,
    line: Name,
    station: Name,
    epoch: Annotated[Epoch, Path()],
    sequence: Annotated[Sequence, Path()],
) -> InspectionLineage:
    """The verdict, its package with all that taught it, and what the part's own pictures taught later."""
    with services.database.read() as session:
        address = f"{site}/{line}/{station}"
        entry, package, pictures = picture_lineage.of_inspection(session, services.blobs, address, epoch, sequence)
        return InspectionLineage(
            inspection=inspection_view(entry),
            package=None if package is None else lineage_view(session, services, package),
            pictures=[_view(each) for each in pictures],
        )


def _view(found: picture_lineage.PictureLineage) -> PictureLineage:
    return PictureLineage(
        sha256=found.sha256,
        labels=[
            PictureLabel(
                **row.model_dump(include={"product", "is_simulated", "judgement", "defect_class", "part_id", "source"}),
                **row.model_dump(include={"audit_id", "added_at", "added_by"}),
            )
            for row in found.labels
        ],
        inspections=[f"{address}/{row.epoch}/{row.sequence}" for address, row in found.inspections],
        versions=[_version(each) for each in found.versions],
        versions_looked_into=found.versions_looked_into,
        versions_of_product=found.versions_of_product,
    )


def _version(each: InVersion) -> PictureInVersion:
    record = each.record
    return PictureInVersion(
        dataset_id=each.dataset.dataset_id,
        created_at=each.dataset.created_at,
        use=record.use,
        judgement=record.judgement,
        defect_class=record.defect_class,
        part=record.part,
        source=record.source,
        labelled_by=list(record.labelled_by),
        labelled_at=record.labelled_at,
        is_confirmed=record.is_confirmed,
        training_ids=each.training_ids,
        package_ids=each.package_ids,
    )
