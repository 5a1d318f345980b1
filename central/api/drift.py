# SPDX-License-Identifier: Apache-2.0
"""`/drift`: how far each station's drift monitor is, and what it said of its reference. Reads, decides nothing.

What the monitors saw is told by alarms of kind DRIFT.
"""

from datetime import UTC, datetime

from fastapi import APIRouter, Depends
from sqlmodel import select

from central.api.auth import ServicesOf, allow
from central.api.schemas import DriftView
from central.quality.drifting.blocks import BLOCK_PARTS
from central.services.drift_watch import DriftWatch
from central.store.tables import Station
from contracts.vocabulary import Role

router = APIRouter(prefix="/drift", tags=["drift"], dependencies=[Depends(allow(Role.VIEWER))])


@router.get("", summary="Drift monitors of the stations")
def list_monitors(services: ServicesOf) -> list[DriftView]:
    """One entry a station whose parts have been seen, by address."""
    watch: DriftWatch = services.loop.drift
    with services.database.read() as session:
        addresses = {each.id: each.address for each in session.exec(select(Station)).all()}
    views = [
        DriftView(
            station=addresses[station_id],
            is_watching=reference.is_ready,
            began_at=None if reference.began is None else datetime.fromtimestamp(reference.began, UTC),
            reference_parts=reference.blocks * BLOCK_PARTS,
            notes=list(reference.notes),
            left_out=left_out,
            is_simulated=is_simulated,
        )
        for (station_id, is_simulated), (reference, left_out) in watch.references().items()
        if station_id in addresses
    ]
    return sorted(views, key=lambda view: (view.station, view.is_simulated))
