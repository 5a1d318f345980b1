# SPDX-License-Identifier: Apache-2.0
"""`/rollout-policies` and labels of stations: what people set beforehand, so that nights need nobody.

Reads and writes rows; the rules are in `domain/rollout_plan.py`. Freezes have `freezes.py`.
"""

import logging
from collections.abc import Collection
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Response
from sqlmodel import Session

from central.api.auth import CallerOf, ServicesOf, allow
from central.api.rollout_schemas import (
    PlanBody,
    RolloutPolicyView,
    SetLabels,
    SetRolloutPolicy,
    StationLabels,
)
from central.domain.naming import some_of
from central.errors import NotFoundError
from central.services.rollouts.naming import require_heard_of, require_reach
from central.store.repositories import known, rollout_policies, stations
from central.store.rollout_tables import RolloutPolicyRow
from contracts.ids import Name
from contracts.vocabulary import Role

_LOG: Final = logging.getLogger(__name__)

router = APIRouter(tags=["rollouts"], dependencies=[Depends(allow(Role.VIEWER))])
_engineer = [Depends(allow(Role.ENGINEER))]
Product = Annotated[Name, Path()]


@router.get("/rollout-policies", summary="What people set for the rollouts of products")
def list_policies(services: ServicesOf) -> list[RolloutPolicyView]:
    """By product. One without a policy follows the settings of central: canary, line, site, all, no approvals."""
    with services.database.read() as session:
        products = known.products(session, services.clock.now())
        return [_policy_view(row, products) for row in rollout_policies.policies(session)]


@router.put("/rollout-policies/{product}", summary="Set the rollouts of a product", dependencies=_engineer)
def set_policy(services: ServicesOf, product: Product, said: SetRolloutPolicy) -> RolloutPolicyView:
    """For rollouts that begin from now on; one under way keeps the plan that it began with.

    A product, or a place in the target, that central has not heard of is refused unless `is_ahead`.
    """
    plan = said.plan.read()
    with services.database.begin() as session:
        products, row = known.products(session, services.clock.now()), rollout_policies.policy_of(session, product)
        if not said.is_ahead:
            if row is None:
                _require_product(product, products)
            require_heard_of(session, plan.target)
        require_reach(session, product, plan, is_ahead=said.is_ahead)
        row = row or RolloutPolicyRow(
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
            rollout_policies.plan_text(plan),
        )
        row.changed_at, row.changed_by, row.note = services.clock.now(), said.by, said.note
        session.add(row)
        session.flush()
        return _policy_view(row, products)


@router.delete(
    "/rollout-policies/{product}", summary="End the policy of a product", status_code=204, dependencies=_engineer
)
def delete_policy(services: ServicesOf, caller: CallerOf, product: Product) -> Response:
    """Rollouts that begin from now on follow central's settings: no approvals, no windows. One under way goes on."""
    with services.database.begin() as session:
        row = rollout_policies.policy_of(session, product)
        if row is None:
            had = [each.product for each in rollout_policies.policies(session)]
            raise NotFoundError(
                f"product {product}: it has no rollout policy; products with one: {some_of(had) or 'none'}"
            )
        session.delete(row)
        _LOG.warning(
            "rollout policy ended product=%s token=%s risk=%s is_automatic=%s set_by=%s set_at=%s",
            product, caller.name, row.risk, row.is_automatic, row.changed_by, row.changed_at,
        )  # fmt: skip
    return Response(status_code=204)


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


def _require_product(product: str, heard: Collection[str]) -> None:
    # Under a mistyped name nobody would be asked for the approvals that this policy is set for.
    if product not in heard:
        raise NotFoundError(
            f"product {product}: no recipe, picture, training, package or part of it; known: "
            f"{some_of(sorted(heard)) or 'none yet'}. For a product that is still to come say is_ahead: true"
        )


def _policy_view(row: RolloutPolicyRow, products: Collection[str]) -> RolloutPolicyView:
    plan = PlanBody.of(rollout_policies.read_plan(row.plan))
    is_known = row.product in products
    return RolloutPolicyView(**row.model_dump(exclude={"plan"}), plan=plan, is_product_known=is_known)
