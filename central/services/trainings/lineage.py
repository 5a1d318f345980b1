# SPDX-License-Identifier: Apache-2.0
"""What taught what, in both directions: dataset version, training, package, gate, rollouts, stations.

From a package up to the labels and people behind it and down to the stations that judge with it now; from a station to
the packages that judge there; from a dataset version to all that came of it. Reads only; every function works in the
caller's transaction. Called by the routes.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from central.errors import NotFoundError
from central.services.trainings.datasets import find_version
from central.store.blobs import Blobs
from central.store.dataset_files import from_parquet
from central.store.dataset_tables import DatasetVersion
from central.store.gate_tables import GateRun
from central.store.learning_tables import Champion, Package, Promotion, RolloutRow, Training
from central.store.repositories.gates import overrule_of
from central.store.repositories.station_words import status_in
from central.store.repositories.stations import find as find_station
from central.store.tables import Station
from contracts.vocabulary import PartUse, PromotionOutcome, RolloutState, TrainingState


@dataclass(frozen=True)
class Labels:
    """The labels of a dataset version, counted: of those that taught, and of those held out."""

    pictures: int
    parts: int
    held_out: int
    confirmed: int
    by_source: dict[str, int]
    by_person: dict[str, int]
    by_class: dict[str, int]
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True)
class RolloutSaid:
    """A rollout of a package."""

    id: int
    state: RolloutState
    created_at: datetime


@dataclass(frozen=True)
class JudgingStation:
    """A station that the package is assigned to, or that said it judges with it. `is_judging` None: it never said."""

    station: str
    is_assigned: bool
    is_judging: bool | None
    said_at: datetime | None


@dataclass(frozen=True)
class PackageLineage:
    """One package with all that led to it and all that came of it."""

    package: Package
    is_champion: bool
    dataset: DatasetVersion | None
    training: Training | None
    outcome: PromotionOutcome | None
    gate: TrainingState | None
    overruled_by: str | None
    rollouts: list[RolloutSaid]
    stations: list[JudgingStation]
    # Packages that were measured beside this one as their champion.
    challenged_by: list[str]


def of_package(session: Session, package_id: str) -> PackageLineage:
    """From labels to stations, by way of one package.

    Raises:
        NotFoundError: no such package.
    """
    package = session.get(Package, package_id)
    if package is None:
        raise NotFoundError(f"package {package_id[:12]}: no such package")
    champion = session.get(Champion, (package.product, package.is_simulated))
    promotion, gate = session.get(Promotion, package_id), session.get(GateRun, package_id)
    overruled = overrule_of(session, package_id)
    rollouts = session.exec(
        select(RolloutRow).where(RolloutRow.package_id == package_id).order_by(col(RolloutRow.id))
    ).all()
    later = select(Promotion.package_id).where(Promotion.champion_package_id == package_id)
    return PackageLineage(
        package=package,
        is_champion=champion is not None and champion.package_id == package_id,
        dataset=session.get(DatasetVersion, package.dataset_id) if package.dataset_id else None,
        training=session.get(Training, package.training_id) if package.training_id else None,
        outcome=promotion.outcome if promotion is not None else None,
        gate=gate.state if gate is not None else None,
        overruled_by=overruled.by if overruled is not None else None,
        rollouts=[RolloutSaid(row.id or 0, row.state, row.created_at) for row in rollouts],
        stations=_stations(session, package),
        challenged_by=list(session.exec(later.order_by(col(Promotion.decided_at))).all()),
    )


def of_station(session: Session, address: str) -> list[PackageLineage]:
    """Of every package that judges at a station now, by its own last word; where it said nothing, what it should run.

    Raises:
        NotFoundError: never heard of.
    """
    row = find_station(session, address)
    if row is None:
        raise NotFoundError(f"station {address}: never heard of")
    judging = _judging(row)
    wanted = sorted(set(row.assigned.values())) if judging is None else sorted(judging)
    return [of_package(session, each) for each in wanted if session.get(Package, each) is not None]


def of_dataset(session: Session, dataset_id: str) -> list[PackageLineage]:
    """Of every package that learnt from a dataset version, oldest first.

    Raises:
        NotFoundError: no such version.
    """
    find_version(session, dataset_id)
    wanted = select(Package.package_id).where(Package.dataset_id == dataset_id)
    return [of_package(session, each) for each in session.exec(wanted.order_by(col(Package.registered_at))).all()]


def labels_of(session: Session, blobs: Blobs, dataset_id: str) -> Labels:
    """Whose labels, of what kind, from when to when; out of the version's own manifest.

    Raises:
        NotFoundError: no such version.
        StoreError: its manifest is gone or was altered.
    """
    row = find_version(session, dataset_id)
    _, records = from_parquet(blobs.read(row.file_sha256))
    taught = [record for record in records if record.use is PartUse.TRAIN]
    times = [record.labelled_at for record in taught]
    return Labels(
        pictures=len(taught),
        parts=len({record.part for record in taught}),
        held_out=len(records) - len(taught),
        confirmed=sum(record.is_confirmed for record in taught),
        by_source=dict(sorted(Counter(record.source.value for record in taught).items())),
        by_person=dict(sorted(Counter(name for record in taught for name in set(record.labelled_by)).items())),
        by_class=dict(sorted(Counter(record.defect_class or record.judgement.value for record in taught).items())),
        first_at=min(times, default=None),
        last_at=max(times, default=None),
    )


def _stations(session: Session, package: Package) -> list[JudgingStation]:
    wanted = select(Station).where(Station.is_simulated == package.is_simulated).order_by(Station.address)
    found = []
    for row in session.exec(wanted).all():
        judging = _judging(row)
        is_assigned = row.assigned.get(package.product) == package.package_id
        is_judging = None if judging is None else package.package_id in judging
        if is_assigned or is_judging:
            found.append(JudgingStation(row.address, is_assigned, is_judging, row.status_at))
    return found


def _judging(row: Station) -> set[str] | None:
    """Packages that a station last said it judges with; None: it never said, or in words of another version."""
    status = status_in(row.status)
    return None if status is None else {each.package_id for each in status.active}
