# SPDX-License-Identifier: Apache-2.0
"""`/gates` and `/gate-policies`: what each package showed before any station saw it, and what is demanded of it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from sqlmodel import Session

from central.api.auth import CallerOf, ServicesOf, allow
from central.api.gate_schemas import GatePolicyView, GateView, OverruleGate, OverruleView, SetGatePolicy
from central.services.gates.alarms import settle
from central.services.gates.evidence import Said, asks_person, document_of, find_gate, overrule
from central.store.gate_tables import GatePolicyRow, GateRun
from central.store.learning_tables import Promotion
from central.store.repositories import gates
from contracts.ids import Name, PackageId
from contracts.vocabulary import Role

router = APIRouter(tags=["gates"], dependencies=[Depends(allow(Role.VIEWER))])
_engineer = [Depends(allow(Role.ENGINEER))]
Package = Annotated[PackageId, Path()]


@router.get("/gates", summary="Packages that were held against their champion, newest first")
def list_gates(
    services: ServicesOf, product: Name | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> list[GateView]:
    """All of them, or those of one product."""
    with services.database.read() as session:
        return [_view(session, row) for row in gates.newest(session, product, limit)]


@router.get("/gates/{package_id}", summary="What the gate found of a package")
def get_gate(services: ServicesOf, package_id: Package) -> GateView:
    """Every condition with its figures, the pictures on which the two differ, and who overruled it."""
    with services.database.read() as session:
        return _view(session, find_gate(session, package_id))


@router.get("/gates/{package_id}/evidence.json", summary="The evidence as one file", response_class=Response)
def get_evidence(services: ServicesOf, package_id: Package) -> Response:
    """Self-contained: digests of package, champion and dataset version, terms, conditions, and every judged picture."""
    with services.database.read() as session:
        content = document_of(session, package_id)
    headers = {"Content-Disposition": f'attachment; filename="gate-{package_id[:12]}.json"'}
    return Response(content, media_type="application/json", headers=headers)


@router.post(
    "/gates/{package_id}/overrule",
    summary="Let a package out that the gate held back",
    dependencies=_engineer,
    responses={409: {"description": "Not decided yet, promoted already, or another champion since"}},
)
def overrule_gate(services: ServicesOf, caller: CallerOf, package_id: Package, said: OverruleGate) -> GateView:
    """An engineer where evidence is missing and the terms ask a person; else an administrator. The reason is stored."""
    with services.database.begin() as session:
        row = find_gate(session, package_id)
        now = services.clock.now()
        overrule(session, package_id, Said(caller.name, caller.role, said.reason), now)
        settle(session, row.product, is_simulated=row.is_simulated, by=f"overruled by {caller.name}", now=now)
        return _view(session, row)


@router.get("/gate-policies", summary="What people demand of products' packages")
def list_policies(services: ServicesOf) -> list[GatePolicyView]:
    """By product. One without a policy follows the settings of central."""
    with services.database.read() as session:
        return [GatePolicyView(**row.model_dump()) for row in gates.policies(session)]


@router.put("/gate-policies/{product}", summary="Set what is demanded of a product's packages", dependencies=_engineer)
def set_policy(
    services: ServicesOf, caller: CallerOf, product: Annotated[Name, Path()], said: SetGatePolicy
) -> GatePolicyView:
    """For packages that are decided on from now on; what was decided stands."""
    with services.database.begin() as session:
        row = session.merge(
            GatePolicyRow(product=product, changed_at=services.clock.now(), changed_by=caller.name, **said.model_dump())
        )
        session.flush()
        return GatePolicyView(**row.model_dump())


def _view(session: Session, row: GateRun) -> GateView:
    promotion = session.get(Promotion, row.package_id)
    overruled = gates.overrule_of(session, row.package_id)
    evidence = row.evidence or {}
    shown = ("conditions", "terms", "terms_by", "denominators", "worst_differing", "left_out")
    return GateView(
        **row.model_dump(include={"package_id", "product", "champion_package_id", "is_simulated", "state"}),
        **row.model_dump(include={"asked_at", "finished_at", "error"}),
        **{name: evidence[name] for name in shown if name in evidence},
        outcome=promotion.outcome if promotion is not None else None,
        asks_person=asks_person(row, promotion),
        overruled=None if overruled is None else OverruleView(**overruled.model_dump(exclude={"id", "package_id"})),
    )
