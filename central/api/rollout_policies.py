# SPDX-License-Identifier: Apache-2.0
"""`/rollout-policies`, `/freezes` and labels of stations: what people set beforehand, so that nights need nobody.

Reads and writes rows; the rules are in `domain/rollout_plan.py` and `domain/calendar.py`.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from sqlmodel import Session

from central.api.auth import ServicesOf, allow
from central.api.rollout_schemas import (
    FreezeView,
    MakeFreeze,
    PlanBody,
    RolloutPolicyView,
    SetLabels,
    SetRolloutPolicy,
    StationLabels,
)
from central.api.schemas import By
from central.errors import ConflictError, NotFoundError
from central.store.repositories import rollout_policies, stations
from central.store.rollout_tables import FreezeRow, RolloutPolicyRow
from contracts.ids import Name
from contracts.vocabulary import Role

router = APIRouter(tags=["rollouts"], dependencies=[Depends(allow(Role.VIEWER))])
_engineer = [Depends(allow(Role.ENGINEER))]
Product = Annotated[Name, Path()]


@router.get("/rollout-policies", summary="What people set for the rollouts of products")
def list_policies(services: ServicesOf) -> list[RolloutPolicyView]:
    """By product. One without a policy follows the settings of central: canary, line, site, all, no approvals."""
    with services.database.read() as session:
        return [_policy_view(row) for row in rollout_policies.policies(session)]


@router.put("/rollout-policies/{product}", summary="Set the rollouts of a product", dependencies=_engineer)
def set_policy(services: ServicesOf, product: Product, said: SetRolloutPolicy) -> RolloutPolicyView:
    """For rollouts that begin from now on; one under way keeps the plan that it began with."""
    with services.database.begin() as session:
        row = rollout_policies.policy_of(session, product) or RolloutPolicyRow(
            product=product,
            risk=said.risk,
            is_automatic=said.is_automatic,
            plan="",
            changed_at=services.clock.now(),
            changed_by=said.by,
            note=said.note,
        )
        row.risk, row.is_automatic, row.plan = (
            said.risk,
            said.is_automatic,
            rollout_policies.plan_text(said.plan.read()),
        )
        row.changed_at, row.changed_by, row.note = services.clock.now(), said.by, said.note
        session.add(row)
        session.flush()
        return _policy_view(row)


@router.get("/freezes", summary="Freezes that hold now or will")
def list_freezes(services: ServicesOf) -> list[FreezeView]:
    """Soonest first. While one holds, nobody of its site is given another package; going back is never held."""
    now = services.clock.now()
    with services.database.read() as session:
        return [_freeze_view(row, now) for row in rollout_policies.freezes(session, now)]


@router.post("/freezes", summary="Touch nobody for a while", status_code=201, dependencies=_engineer)
def make_freeze(services: ServicesOf, said: MakeFreeze) -> FreezeView:
    """Of one site or of all. Holds for rollouts that are under way, too."""
    now = services.clock.now()
    if said.ends <= now:
        raise ConflictError(f"freeze: it would have ended already at {said.ends.isoformat()}; it is {now.isoformat()}")
    row = FreezeRow(
        site=said.site, begins=said.begins, ends=said.ends, reason=said.reason, made_at=now, made_by=said.by
    )
    with services.database.begin() as session:
        session.add(row)
        session.flush()
        return _freeze_view(row, now)


@router.post("/freezes/{freeze_id}/lift", summary="End a freeze early", dependencies=_engineer)
def lift_freeze(services: ServicesOf, freeze_id: Annotated[int, Path(ge=1, le=2**62)], who: By) -> FreezeView:
    """Lifting it twice changes nothing."""
    now = services.clock.now()
    with services.database.begin() as session:
        row = session.get(FreezeRow, freeze_id)
        if row is None:
            raise NotFoundError(f"freeze {freeze_id}: no such freeze")
        if row.lifted_at is None:
            row.lifted_at, row.lifted_by = now, who.by
            session.add(row)
        session.flush()
        return _freeze_view(row, now)


@router.get("/station-labels", summary="Labels of stations")
def list_labels(services: ServicesOf) -> list[StationLabels]:
    """Stations that have none are left out."""
    with services.database.read() as session:
        return [StationLabels(station=name, labels=said) for name, said in rollout_policies.labels(session).items()]


@router.put("/stations/{site}/{line}/{station}/labels", summary="Label a station", dependencies=_engineer)
def set_labels(*, services: ServicesOf, site: Name, line: Name, station: Name, said: SetLabels) -> StationLabels:
    """These labels and no others: to aim rollouts by (`camera: 12mp`)."""
    address = f"{site}/{line}/{station}"
    with services.database.begin() as session:
        rollout_policies.set_labels(session, _id_of(session, address), said.labels)
    return StationLabels(station=address, labels=said.labels)


def _id_of(session: Session, address: str) -> int:
    row = stations.find(session, address)
    if row is None or row.id is None:
        raise NotFoundError(f"station {address}: never heard of")
    return row.id


def _policy_view(row: RolloutPolicyRow) -> RolloutPolicyView:
    plan = PlanBody.of(rollout_policies.read_plan(row.plan))
    return RolloutPolicyView(**row.model_dump(exclude={"plan"}), plan=plan)


def _freeze_view(row: FreezeRow, now: datetime) -> FreezeView:
    return FreezeView(**row.model_dump(), is_in_force=row.lifted_at is None and row.begins <= now < row.ends)
