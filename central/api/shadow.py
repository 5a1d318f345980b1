# SPDX-License-Identifier: Apache-2.0
"""`/shadow`: what challengers did beside their champions, station by station. Reads, decides nothing.

Counts only: which parts are disputed is not told before they are judged, since an auditor must not know.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from central.api.auth import ServicesOf, allow
from central.api.schemas import ShadowView
from central.api.written import WrittenTime
from central.store.repositories import shadow
from contracts.ids import PackageId
from contracts.vocabulary import Role

router = APIRouter(prefix="/shadow", tags=["shadow"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("", summary="Challengers beside their champions")
def list_shadows(
    services: ServicesOf,
    challenger: Annotated[PackageId | None, Query()] = None,
    since: WrittenTime | None = None,
) -> list[ShadowView]:
    """One entry a station, champion and challenger; of parts captured from `since` on."""
    with services.database.read() as session:
        found = shadow.counts(session, challenger, since)
    return [ShadowView.model_validate(each, from_attributes=True) for each in found]
