# SPDX-License-Identifier: Apache-2.0
"""What became of a picture: who judged it, in which dataset versions it stands, which packages learnt from it.

Dataset versions hold their pictures in files, so they are read one by one, the newest `MOST_VERSIONS` of a product;
what was not looked into is told. Reads only; every function works in the caller's transaction. Called by the routes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlmodel import Session, col, select

from central.domain.datasets import LabelRecord
from central.errors import NotFoundError
from central.services.trainings.lineage import PackageLineage, of_package
from central.store.blobs import Blobs
from central.store.dataset_files import records_with
from central.store.dataset_tables import DatasetVersion
from central.store.learning_tables import Package, Training
from central.store.repositories import inspections
from central.store.repositories.inspections import InspectionEntry
from central.store.tables import Evidence, Inspection, LabelledPicture, Station

MOST_VERSIONS: Final = 200


@dataclass(frozen=True)
class InVersion:
    """A picture in a dataset version, with its label as it was then, and what learnt from that version."""

    dataset: DatasetVersion
    record: LabelRecord
    training_ids: list[str]
    package_ids: list[str]


@dataclass(frozen=True)
class PictureLineage:
    """`label`: as it is now. `versions`: newest first; of `versions_of_product` so many were looked into."""

    sha256: str
    labels: list[LabelledPicture]
    inspections: list[tuple[str, Inspection]]
    versions: list[InVersion]
    versions_looked_into: int
    versions_of_product: int


def of_picture(session: Session, blobs: Blobs, sha256: str) -> PictureLineage:
    """From a picture to the labels, dataset versions, trainings and packages that it is in.

    Raises:
        NotFoundError: central has never had it, or let it go without anything resting on it.
        StoreError: the file of a dataset version is gone or was altered.
    """
    labels = session.exec(select(LabelledPicture).where(LabelledPicture.sha256 == sha256)).all()
    taken = session.exec(
        select(Station.address, Inspection)
        .join(Inspection, col(Inspection.station_id) == col(Station.id))
        .join(
            Evidence,
            (col(Evidence.station_id) == col(Inspection.station_id))
            & (col(Evidence.epoch) == col(Inspection.epoch))
            & (col(Evidence.sequence) == col(Inspection.sequence)),
        )
        .where(Evidence.sha256 == sha256)
        .order_by(col(Inspection.id))
    ).all()
    if not labels and not taken:
        raise NotFoundError(f"picture {sha256[:12]}: nobody judged it, and no inspection names it")
    found: list[InVersion] = []
    looked, of = 0, 0
    for product, is_simulated in sorted({(row.product, row.is_simulated) for row in labels}):
        wanted = select(DatasetVersion).where(
            DatasetVersion.product == product, DatasetVersion.is_simulated == is_simulated
        )
        rows = session.exec(wanted.order_by(col(DatasetVersion.created_at).desc())).all()
        of += len(rows)
        for row in rows[:MOST_VERSIONS]:
            looked += 1
            found += [_in_version(session, row, each) for each in records_with(blobs.read(row.file_sha256), sha256)]
    return PictureLineage(sha256, list(labels), list(taken), found, looked, of)


def of_inspection(
    session: Session, blobs: Blobs, station: str, epoch: int, sequence: int
) -> tuple[InspectionEntry, PackageLineage | None, list[PictureLineage]]:
    """From a verdict to the package that gave it with all that taught it, and to what its own pictures taught.

    Raises:
        NotFoundError: no such inspection.
        StoreError: as `of_picture`.
    """
    entry = inspections.find(session, station, epoch, sequence)
    if entry is None:
        raise NotFoundError(f"no inspection {station}/{epoch}/{sequence}")
    package_id = entry.inspection.package_id
    package = of_package(session, package_id) if package_id and session.get(Package, package_id) else None
    pictures = [of_picture(session, blobs, sha256) for sha256 in dict.fromkeys(each.sha256 for each in entry.evidence)]
    return entry, package, pictures


def _in_version(session: Session, row: DatasetVersion, record: LabelRecord) -> InVersion:
    trainings: Sequence[str] = session.exec(
        select(Training.training_id).where(Training.dataset_id == row.dataset_id).order_by(col(Training.created_at))
    ).all()
    packages: Sequence[str] = session.exec(
        select(Package.package_id).where(Package.dataset_id == row.dataset_id).order_by(col(Package.registered_at))
    ).all()
    return InVersion(row, record, list(trainings), list(packages))
