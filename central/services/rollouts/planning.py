# SPDX-License-Identifier: Apache-2.0
"""Which plan a rollout follows, which stations its waves hold, and which of them may not be touched now.

Reads what people set (`store/repositories/rollout_policies.py`) and asks the pure rules (`domain/rollout_plan.py`,
`domain/calendar.py`). Moves no rollout. Called by `services/rollouts/moving.py` and `services/rollouts/catching_up.py`.
"""

from collections.abc import Container, Iterable
from dataclasses import replace
from datetime import datetime

from sqlmodel import Session

from central.domain.calendar import held_until
from central.domain.rollout_plan import LADDER, RolloutPlan, TargetFilter, WavePlan, WaveScope, choose_waves, site_of
from central.domain.rollout_shapes import Wave
from central.domain.rollout_waves import waves_of
from central.services.rollouts.facts import stations_for
from central.services.rollouts.reach import is_meant_for_all
from central.store.learning_tables import RolloutRow
from central.store.repositories import rollout_policies, stations
from contracts.vocabulary import RiskClass


def default_plan(canary: int) -> RolloutPlan:
    """So many stations first, then what is most like them, step by step."""
    return RolloutPlan(waves=(WavePlan(WaveScope.COUNT, canary), *LADDER[1:]))


def plan_for(session: Session, product: str, canary: int) -> tuple[RolloutPlan, RiskClass]:
    """What people set for the product, else the default."""
    policy = rollout_policies.policy_of(session, product)
    if policy is None:
        return default_plan(canary), RiskClass.STANDARD
    return rollout_policies.read_plan(policy.plan), policy.risk


def may_begin_by_itself(session: Session, product: str) -> bool:
    """Whether people left it to central to start rollouts of this product."""
    policy = rollout_policies.policy_of(session, product)
    return policy is None or policy.is_automatic


def plan_of(row: RolloutRow) -> RolloutPlan:
    """The plan that a rollout was begun with."""
    return rollout_policies.read_plan(row.plan) if row.plan is not None else default_plan(row.canary)


def waves_for(session: Session, row: RolloutRow, lost_after_s: float, now: datetime) -> tuple[Wave, ...]:
    """The waves of a rollout that has not begun; none while there is nobody to touch.

    A plan that is not for all is a wish for those that it takes: they are noted in `asked_stations`.
    """
    chosen = _chosen(session, row, lost_after_s, now)[1]
    named = [name for _, names in chosen for name in names]
    if not row.asked_stations and not is_meant_for_all(session, row.product, plan_of(row)):
        row.asked_stations = named
    return waves_of(chosen, _having(session, row))


def left_out(session: Session, row: RolloutRow, lost_after_s: float, now: datetime) -> list[str]:
    """Stations that judge the product, when the plan takes none of them. Empty: it takes some, or there is nobody."""
    everybody, chosen = _chosen(session, row, lost_after_s, now)
    return [] if chosen else everybody


def _chosen(
    session: Session, row: RolloutRow, lost_after_s: float, now: datetime
) -> tuple[list[str], tuple[tuple[WavePlan, tuple[str, ...]], ...]]:
    """All stations that judge the product, and those that the plan takes, by wave."""
    plan, everybody = plan_of(row), list(stations_for(session, row, lost_after_s, now))
    labels = rollout_policies.labels(session)
    meant = [name for name in everybody if plan.target.takes(name, labels.get(name, {}))]
    if row.previous_package_id != row.package_id:
        # A canary that ran it in a trial already shows nothing new: those come last.
        having = _having(session, row)
        meant.sort(key=lambda name: name in having)
    return everybody, choose_waves(meant, plan.waves, row.risk)


def _having(session: Session, row: RolloutRow) -> set[str]:
    """Stations that are assigned the rollout's package already."""
    known = stations.assigned_of(session, is_simulated=row.is_simulated)
    return {address for address, assigned in known if assigned.get(row.product) == row.package_id}


def asked_plan(
    session: Session,
    product: str,
    plan: RolloutPlan | None,
    *,
    inherits: Container[str],
    canary: int | None,
    usual: int,
) -> tuple[RolloutPlan, RiskClass]:
    """The plan of a rollout that a person asks for, on top of what people set for the product; and its risk class.

    `plan` None: the product's own. `inherits`: of `plan`, what was left unsaid (`target`, `windows`) and so holds as
    the policy says. `canary`: of the product's own plan, how many stations the first wave takes. `usual`: of a product
    without a policy.
    """
    policy = rollout_policies.policy_of(session, product)
    lasting, risk = plan_for(session, product, usual)
    if plan is not None:
        target = lasting.target if "target" in inherits else plan.target
        windows = lasting.windows if "windows" in inherits else plan.windows
        return replace(plan, target=target, windows=windows), risk
    if canary is None:
        return lasting, risk
    if policy is None:
        return default_plan(canary), risk
    first = replace(lasting.waves[0], scope=WaveScope.COUNT, amount=canary)
    return replace(lasting, waves=(first, *lasting.waves[1:])), risk


def with_stations(plan: RolloutPlan, addresses: Iterable[str]) -> RolloutPlan:
    """The plan for these stations alone. They were named one by one: no filter of the policy leaves one out."""
    return replace(plan, target=TargetFilter(stations=tuple(addresses)))


def held(
    session: Session, product: str, addresses: Iterable[str], plan: RolloutPlan | None, now: datetime
) -> dict[str, str]:
    """Stations that may not be touched now, each with the reason. `plan` None: by the windows set for the product."""
    if plan is None:
        policy = rollout_policies.policy_of(session, product)
        windows = rollout_policies.read_plan(policy.plan).windows if policy is not None else ()
    else:
        windows = plan.windows
    frozen = rollout_policies.in_force(session, now)
    by_site: dict[str, str | None] = {}
    reasons = {}
    for address in addresses:
        site = site_of(address)
        if site not in by_site:
            by_site[site] = held_until(site, windows, frozen, now)
        if (reason := by_site[site]) is not None:
            reasons[address] = reason
    return reasons
