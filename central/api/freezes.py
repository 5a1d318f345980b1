# SPDX-License-Identifier: Apache-2.0
"""`/freezes`: times in which nobody is touched. A freeze that would hold nobody is refused, so that a slip is seen.

Reads and writes rows; the rules are in `domain/calendar.py`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from sqlmodel import Session

from central.api.auth import ServicesOf, allow
from central.api.freeze_schemas import FreezeView, MakeFreeze
from central.api.schemas import By
from central.domain.calendar import check_freeze
from central.domain.naming import some_of
from central.errors import ConflictError, InvalidError, NotFoundError
from central.store.repositories import known, rollout_policies
from central.store.rollout_tables import FreezeRow
from contracts.vocabulary import Role

router = APIRouter(prefix="/freezes", tags=["rollouts"], dependencies=[Depends(allow(Role.VIEWER))])
_engineer = [Depends(allow(Role.ENGINEER))]


@router.get("", summary="Freezes that hold now or will")
def list_freezes(
    services: ServicesOf,
    *,
    is_over: Annotated[bool, Query(description="those that ended or were lifted instead, newest first")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> list[FreezeView]:
    """Soonest first. While one holds, nobody of its site is given another package; going back is never held."""
    now = services.clock.now()
    with services.database.read() as session:
        standing = rollout_policies.freezes(session, now)
        shown = rollout_policies.past_freezes(session, now, limit) if is_over else standing[:limit]
        return [_view(row, standing, now) for row in shown]


@router.post(
    "",
    summary="Touch nobody for a while",
    status_code=201,
    dependencies=_engineer,
    responses={200: {"model": FreezeView, "description": "This very freeze was set before; nothing was made"}},
)
def make_freeze(services: ServicesOf, said: MakeFreeze, response: Response) -> FreezeView:
    """Of one site or of all. Holds for rollouts that are under way, too.

    The same freeze again (site, times and reason) is the one that there is.
    """
    now = services.clock.now()
    try:
        check_freeze(said.begins, said.ends, now)
    except ValueError as error:
        raise InvalidError(f"freeze: {error}") from error
    row = FreezeRow(
        site=said.site, begins=said.begins, ends=said.ends, reason=said.reason, made_at=now, made_by=said.by
    )
    with services.database.begin() as session:
        if said.site is not None and not said.is_ahead:
            _require_site(session, said.site)
        found = rollout_policies.same_freeze(session, row)
        if found is not None:
            response.status_code = 200
            row = found
        session.add(row)
        session.flush()
        return _view(row, rollout_policies.freezes(session, now), now)


@router.post(
    "/{freeze_id}/lift",
    summary="End a freeze early",
    dependencies=_engineer,
    responses={409: {"description": "It is over"}},
)
def lift_freeze(services: ServicesOf, freeze_id: Annotated[int, Path(ge=1, le=2**62)], who: By) -> FreezeView:
    """Lifting it twice changes nothing. `also_frozen_by` of the answer names what still holds the site."""
    now = services.clock.now()
    with services.database.begin() as session:
        row = session.get(FreezeRow, freeze_id)
        if row is None:
            raise NotFoundError(f"freeze {freeze_id}: no such freeze")
        if row.lifted_at is None and row.ends <= now:
            raise ConflictError(
                f"freeze {freeze_id}: expected one that holds or will, it ended by itself at "
                f"{row.ends.isoformat(timespec='seconds')}; nothing is left to lift, GET /freezes lists what holds"
            )
        if row.lifted_at is None:
            row.lifted_at, row.lifted_by = now, who.by
            session.add(row)
        session.flush()
        return _view(row, rollout_policies.freezes(session, now), now)


def _require_site(session: Session, site: str) -> None:
    # Refused and not warned of: who freezes a plant at night reads no warning, and finds out when a station is touched.
    heard = known.sites(session)
    if site not in heard:
        raise NotFoundError(
            f"site {site}: never heard of, so nobody would be frozen; known: {some_of(heard) or 'none yet'}. Without "
            "a site every one is frozen; is_ahead: true freezes one that is still to come"
        )


def _view(row: FreezeRow, standing: Sequence[FreezeRow], now: datetime) -> FreezeView:
    others = [
        other.id or 0
        for other in standing
        if other.id != row.id and _holds(other, now) and (None in (row.site, other.site) or row.site == other.site)
    ]
    return FreezeView(**row.model_dump(), is_in_force=_holds(row, now), also_frozen_by=others)


def _holds(row: FreezeRow, now: datetime) -> bool:
    return row.lifted_at is None and row.begins <= now < row.ends
