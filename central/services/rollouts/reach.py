# SPDX-License-Identifier: Apache-2.0
"""Whom a rollout is for: everybody that the product's policy takes, or some, as a trial.

Only the first kind moves the champion, which stations that came later or were away are given without a bake of their
own. So who is silent, idle or unknown at this moment must not decide it: the plan says, and where a person named
stations, all stations that were ever heard of count. Called by `services/rollouts/planning.py`, `moving.py` and
`catching_up.py`.
"""

from collections.abc import Iterable, Sequence

from sqlmodel import Session

from central.domain.naming import some_of
from central.domain.rollout_plan import RolloutPlan, TargetFilter, WaveScope
from central.domain.rollout_shapes import Rollout
from central.store.learning_tables import Champion, RolloutRow
from central.store.repositories import rollout_policies, stations
from contracts.vocabulary import RolloutState

_ALL: TargetFilter = TargetFilter()


def lasting_target(session: Session, product: str) -> TargetFilter:
    """Which stations the product's champion is for, as its policy says; without one, all."""
    policy = rollout_policies.policy_of(session, product)
    return _ALL if policy is None else rollout_policies.read_plan(policy.plan).target


def is_meant_for_all(session: Session, product: str, plan: RolloutPlan) -> bool:
    """Whether a plan reaches, in time, everybody whom the product's policy takes."""
    is_whole = any(wave.scope is WaveScope.ALL for wave in plan.waves)
    return is_whole and plan.target in (_ALL, lasting_target(session, product))


def missed_by(session: Session, row: RolloutRow, plan: RolloutPlan, touched: Iterable[str]) -> list[str]:
    """Stations whom the champion is for and whom this rollout left out, heard of now or not. Empty: it is for all.

    One with a filter of its own is a trial for good: those whom the filter would leave out may be yet to come.
    """
    is_named = plan.target == TargetFilter(stations=tuple(row.asked_stations))
    lasting = lasting_target(session, row.product)
    if not is_named and plan.target not in (_ALL, lasting):
        return ["whoever its target does not take"]
    if not row.asked_stations:
        return []
    labels = rollout_policies.labels(session)
    known = stations.assigned_of(session, is_simulated=row.is_simulated)
    meant = {address for address, _ in known if lasting.takes(address, labels.get(address, {}))}
    return sorted(meant - set(touched))


def left_with(session: Session, row: RolloutRow, after: Rollout) -> list[str]:
    """Stations that still have the package of a rollout that was taken back: from a trial, and never touched by it."""
    if after.state not in (RolloutState.ERROR, RolloutState.STOPPED):
        return []
    champion = session.get(Champion, (row.product, row.is_simulated))
    if champion is not None and champion.package_id == row.package_id:
        # Everybody was to have it before, too.
        return []
    known = stations.assigned_of(session, is_simulated=row.is_simulated)
    return sorted(address for address, assigned in known if assigned.get(row.product) == row.package_id)


def left_in_lines(left: Sequence[str]) -> list[str]:
    """The same for a history."""
    return [f"still judges, from a trial, where this rollout had not come: {some_of(left)}"] if left else []


def not_taken(session: Session, product: str, addresses: Iterable[str]) -> set[str]:
    """Those whom the product's policy leaves out: its champion is not for them."""
    lasting = lasting_target(session, product)
    if lasting == _ALL:
        return set()
    labels = rollout_policies.labels(session)
    return {address for address in addresses if not lasting.takes(address, labels.get(address, {}))}
