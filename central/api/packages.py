# SPDX-License-Identifier: Apache-2.0
"""`/packages`: the registry with the gate's word on each. Publishes and promotes nothing itself."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.learning_schemas import GateCheck, PackageView, PromotionView
from central.api.trainings import loop_of
from central.errors import NotFoundError
from central.foundation import Services
from central.store.learning_tables import Champion, Package, Promotion
from central.trust.state import PackageRepositoryError
from contracts.ids import Name, PackageId
from contracts.manifest import PackageManifest
from contracts.vocabulary import Role

router = APIRouter(prefix="/packages", tags=["packages"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("", summary="Packages, newest first")
def list_packages(
    services: ServicesOf, product: Name | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[PackageView]:
    """All of them, or those of one product."""
    wanted = select(Package).order_by(col(Package.registered_at).desc()).limit(limit)
    if product is not None:
        wanted = wanted.where(Package.product == product)
    named = _named(services)
    with services.database.read() as session:
        return [_view(session, row, named) for row in session.exec(wanted).all()]


@router.get("/{package_id}", summary="One package")
def get_package(services: ServicesOf, package_id: Annotated[PackageId, Path()]) -> PackageView:
    """With its manifest and the promotion gate's checks."""
    with services.database.read() as session:
        row = session.get(Package, package_id)
        if row is None:
            raise NotFoundError(f"package {package_id}: no such package")
        return _view(session, row, _named(services))


def _without_chunks(manifest: PackageManifest) -> PackageManifest:
    """A list of packages is asked for every few seconds; the chunks of their files are for stations alone."""
    files = [file.model_copy(update={"chunks": []}) for file in manifest.files]
    return manifest.model_copy(update={"files": files})


def _named(services: Services) -> frozenset[str] | None:
    """What the package repository names; None: it cannot be read, which must not hide the registry."""
    try:
        return loop_of(services).repository.named()
    except PackageRepositoryError:
        return None


def _view(session: Session, row: Package, named: frozenset[str] | None) -> PackageView:
    champion = session.get(Champion, (row.product, row.is_simulated))
    promotion = session.get(Promotion, row.package_id)
    return PackageView(
        package_id=row.package_id,
        product=row.product,
        detector=row.detector,
        created_at=row.created_at,
        is_champion=champion is not None and champion.package_id == row.package_id,
        is_simulated=row.is_simulated,
        is_withdrawn=None if named is None else row.package_id not in named,
        size_bytes=row.size_bytes,
        manifest=_without_chunks(PackageManifest.model_validate_json(row.manifest)),
        promotion=None
        if promotion is None
        else PromotionView(
            package_id=promotion.package_id,
            champion_package_id=promotion.champion_package_id,
            outcome=promotion.outcome,
            decided_at=promotion.decided_at,
            checks=[GateCheck.model_validate(check) for check in promotion.checks],
        ),
        training_id=row.training_id,
        dataset_id=row.dataset_id,
    )
