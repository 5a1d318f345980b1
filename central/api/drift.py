# SPDX-License-Identifier: Apache-2.0
"""`/drift`: how far the monitors of drift and novelty are, and what they said of their references. Decides nothing.

What they saw is told by alarms of kind DRIFT and NOVELTY.
"""

from datetime import UTC, datetime

from fastapi import APIRouter, Depends
from sqlmodel import select

from central.api.auth import ServicesOf, allow
from central.api.drift_schemas import DriftView, NoveltyView
from central.quality.drifting.blocks import BLOCK_PARTS
from central.services.watches.drift import DriftWatch
from central.services.watches.novelty import NoveltyWatch
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


@router.get("/novelty", summary="Novelty monitors of the stations")
def list_novelty_monitors(services: ServicesOf) -> list[NoveltyView]:
    """One entry for each station, product and package whose reports carry embeddings, by address."""
    watch: NoveltyWatch = services.loop.novelty
    with services.database.read() as session:
        addresses = {each.id: each.address for each in session.exec(select(Station)).all()}
    views = [
        NoveltyView(
            station=addresses[key.station_id],
            product=key.product,
            package_id=key.package_id,
            is_watching=each.is_ready,
            last_at=each.last_at,
            notes=list(each.notes),
            left_out=each.left_out,
            is_simulated=key.is_simulated,
        )
        for key, each in watch.progress().items()
        if key.station_id in addresses
    ]
    return sorted(views, key=lambda view: (view.station, view.is_simulated, view.product, view.package_id))
