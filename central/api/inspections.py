# SPDX-License-Identifier: Apache-2.0
"""`/inspections`: pages of what stations reported, and one inspection by its id. Read only."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from central.api.auth import ServicesOf, allow
from central.api.queries import StationQuery
from central.api.schemas import InspectionPage, InspectionView
from central.api.views import inspection_view
from central.api.written import WrittenTime
from central.errors import InvalidError, NotFoundError
from central.store.repositories import inspections
from central.store.repositories.inspections import InspectionFilter
from contracts.ids import Epoch, Name, PackageId, Sequence
from contracts.vocabulary import Role, Verdict

router = APIRouter(prefix="/inspections", tags=["inspections"], dependencies=[Depends(allow(Role.VIEWER))])

RowId = Annotated[int | None, Query(ge=0, le=2**62)]


@router.get("", summary="Inspections, newest first")
def list_inspections(
    services: ServicesOf,
    *,
    station: StationQuery = None,
    product: Name | None = None,
    verdict: Verdict | None = None,
    package_id: PackageId | None = None,
    since: Annotated[WrittenTime | None, Query(description="captured at or after")] = None,
    until: Annotated[WrittenTime | None, Query(description="captured before")] = None,
    before_id: RowId = None,
    after_id: RowId = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> InspectionPage:
    """Pages by id: `before_id` goes back in time; `after_id` goes forward, oldest first, for followers."""
    if before_id is not None and after_id is not None:
        raise InvalidError("expected before_id or after_id, got both")
    wanted = InspectionFilter(station, product, verdict, package_id, since, until)
    with services.database.read() as session:
        found = inspections.page(session, wanted, before_id=before_id, after_id=after_id, limit=limit)
    items = [inspection_view(entry) for entry in found]
    return InspectionPage(items=items, next_id=items[-1].id if len(items) == limit else None)


@router.get("/{site}/{line}/{station}/{epoch}/{sequence}", summary="One inspection")
def one_inspection(
    services: ServicesOf,
    *,
    site: Name,
    line: Name,
    station: Name,
    epoch: Annotated[Epoch, Path()],
    sequence: Annotated[Sequence, Path()],
) -> InspectionView:
    """By station, epoch and sequence."""
    with services.database.read() as session:
        found = inspections.find(session, f"{site}/{line}/{station}", epoch, sequence)
    if found is None:
        raise NotFoundError(f"no inspection {site}/{line}/{station}/{epoch}/{sequence}")
    return inspection_view(found)
