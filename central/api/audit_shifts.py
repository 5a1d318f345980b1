# SPDX-License-Identifier: Apache-2.0
"""`/audits/shifts`: how severely accepted parts are audited, by shifts, and going on after sampling was discontinued.

Decides nothing: `services/audits/switching.py` does.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from sqlmodel import col, func, select

from central.api.auth import ServicesOf, allow
from central.api.queries import StationQuery
from central.api.written import Remark, Written
from central.quality.switching import Inspection
from central.services.audits.switching import resume_shift
from central.store.audit_tables import AuditShift
from central.store.tables import Station
from contracts.base import Shape, UtcTime
from contracts.ids import Name
from contracts.vocabulary import Role

router = APIRouter(prefix="/audits/shifts", tags=["audits"], dependencies=[Depends(allow(Role.VIEWER))])


class AuditShiftView(Shape):
    """One shift of one product at one station.

    `inspection`: how severely accepted parts were audited at its end, or are now (`is_newest`); `reason` since
    `changed_at`, by a person if `changed_by`. `budget`: accepted parts to audit in it, None: a share of them
    (`audit.accepted_share`), or all (DISCONTINUED). `accepted`, `drawn`: so far. `score`, `accepted_in_a_row`,
    `rejected_while_tightened`: what the next switch waits for.

    Once its audits are settled (`counted_at`): `defective` of the `audits` that equal chance drew, and whether that was
    accepted; None: nothing was judged. `is_steady`: the same package judged as in the shift before.
    """

    shift_id: int
    station: str
    product: str | None
    is_simulated: bool
    shift: str
    begins_at: UtcTime
    ends_at: UtcTime
    is_newest: bool
    inspection: Inspection
    reason: str
    changed_at: UtcTime
    changed_by: str | None
    budget: int | None
    accepted: int
    drawn: int
    score: int
    accepted_in_a_row: int
    rejected_while_tightened: int
    is_steady: bool
    counted_at: UtcTime | None
    audits: int | None
    defective: int | None
    is_accepted: bool | None


class Resume(Written):
    """Body of `POST /audits/shifts/{shift_id}/resume`: who removed the cause, and what it was."""

    by: Name
    note: Remark = ""


@router.get("", summary="How severely accepted parts are audited, newest shifts first")
def list_shifts(
    services: ServicesOf,
    *,
    station: StationQuery = None,
    product: Name | None = None,
    newest: Annotated[bool, Query(description="only what holds now, one a station and product")] = True,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[AuditShiftView]:
    """Of every station and product what holds now, or also the shifts before."""
    latest = select(func.max(AuditShift.id)).group_by(
        col(AuditShift.station_id), col(AuditShift.product), col(AuditShift.is_simulated)
    )
    wanted = select(AuditShift, Station.address).join(Station, col(Station.id) == col(AuditShift.station_id))
    if station is not None:
        wanted = wanted.where(Station.address == station)
    if product is not None:
        wanted = wanted.where(AuditShift.product == product)
    if newest:
        wanted = wanted.where(col(AuditShift.id).in_(latest))
    with services.database.read() as session:
        rows = session.exec(wanted.order_by(col(AuditShift.id).desc()).limit(limit)).all()
        standing = set(session.exec(latest).all())
        return [_view(row, address, is_newest=row.id in standing) for row, address in rows]


@router.post(
    "/{shift_id}/resume",
    summary="Go on after the cause is removed",
    dependencies=[Depends(allow(Role.ENGINEER))],
    responses={409: {"description": "Nothing is discontinued, or a newer shift holds now"}},
)
def resume(services: ServicesOf, shift_id: Annotated[int, Path(ge=1, le=2**62)], said: Resume) -> AuditShiftView:
    """Audits go on tightened from the next draw, and the alarm is closed."""
    with services.database.begin() as session:
        row = resume_shift(session, shift_id, said.by, said.note, services.clock.now())
        return _view(row, session.get_one(Station, row.station_id).address, is_newest=True)


def _view(row: AuditShift, station: str, *, is_newest: bool) -> AuditShiftView:
    return AuditShiftView(
        shift_id=row.id or 0,
        station=station,
        product=row.product or None,
        is_simulated=row.is_simulated,
        shift=row.shift,
        begins_at=row.begins_at,
        ends_at=row.ends_at,
        is_newest=is_newest,
        inspection=row.inspection,
        reason=row.reason,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        budget=row.budget,
        accepted=row.accepted,
        drawn=row.drawn,
        score=row.score,
        accepted_in_a_row=row.accepted_in_a_row,
        rejected_while_tightened=row.rejected_while_tightened,
        is_steady=row.is_steady,
        counted_at=row.counted_at,
        audits=row.audits,
        defective=row.defective,
        is_accepted=row.is_accepted,
    )
