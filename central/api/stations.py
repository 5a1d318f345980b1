# SPDX-License-Identifier: Apache-2.0
"""`/stations`: what runs where, as last reported, beside what should run."""

from fastapi import APIRouter, Depends

from central.api.auth import ServicesOf, allow
from central.api.schemas import StationView
from central.api.views import station_view
from central.store.repositories import recipes, stations
from contracts.vocabulary import Role

router = APIRouter(prefix="/stations", tags=["stations"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("", summary="All stations")
def list_stations(services: ServicesOf) -> list[StationView]:
    """By address. `gaps`: numbers below the highest one of an epoch that never came."""
    with services.database.read() as session:
        rows = stations.list_all(session)
        counts = stations.missing_sequences(session)
        sent = recipes.last_sent(session)
    now = services.clock.now()
    return [station_view(row, *counts.get(row.id or 0, (0, 0)), sent.get(row.id or 0), now) for row in rows]
