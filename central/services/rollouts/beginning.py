# SPDX-License-Identifier: Apache-2.0
"""Which package may begin a rollout, and the row with which it begins.

Stations are chosen and orders written later, by `services/rollouts/moving.py`, which calls this. Every function works
in the caller's transaction.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session, col, select

from central.domain.naming import some_of
from central.domain.rollout_plan import RolloutPlan
from central.domain.rollout_shapes import Rollout
from central.errors import ConflictError, NotFoundError
from central.services.package_registry import champion_of
from central.services.rollouts.planning import asked_plan, may_begin_by_itself, with_stations
from central.services.rollouts.refusals import another_under_way, not_promoted, wished_otherwise
from central.services.rollouts.state import text_of
from central.settings import RolloutSettings
from central.store.database import serialize_product
from central.store.learning_tables import OPEN_ROLLOUTS, Package, Promotion, RolloutRow, Training
from central.store.repositories.rollout_policies import plan_text
from central.store.repositories.stations import assigned_of
from central.store.tables import Station
from contracts.vocabulary import PromotionOutcome, RiskClass

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is wanted of a rollout, and why. `stations`: only these; empty: all. None: as the product's plan says.

    `inherits`: what `plan` leaves unsaid (`target`, `windows`): that of the product's policy holds.
    """

    reason: str
    stations: Sequence[str] = ()
    canary: int | None = None
    plan: RolloutPlan | None = None
    inherits: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Begun:
    """The rollout that answers a wish. `is_new` False: it was under way already, and nothing was changed."""

    rollout_id: int
    is_new: bool


def begin_as_asked(session: Session, package_id: str, asked: Asked, settings: RolloutSettings, now: datetime) -> Begun:
    """Begin a rollout by hand; the one under way when this very package is on its way already.

    Raises:
        NotFoundError: no such package or station.
        ConflictError: the gate did not promote it; another package of the product is under way, or this one otherwise.
    """
    package = session.get(Package, package_id)
    if package is None:
        raise NotFoundError(f"package {package_id}: no such package")
    known = set(session.exec(select(Station.address)).all())
    missing = sorted(set(asked.stations) - known)
    if missing:
        raise NotFoundError(
            f"stations {some_of(missing)}: never heard of; known: {some_of(sorted(known)) or 'none yet'}"
        )
    serialize_product(session, package.product)
    promotion = session.get(Promotion, package_id)
    if promotion is None or promotion.outcome is not PromotionOutcome.PROMOTED:
        raise ConflictError(not_promoted(package_id, promotion.outcome.value if promotion else None))
    under_way = _open_for(session, package)
    if under_way is not None and (row := session.get_one(RolloutRow, under_way)).package_id == package_id:
        _check_same_wish(session, row, asked, settings)
        return Begun(under_way, is_new=False)
    return Begun(_add(session, package, asked, settings, now), is_new=True)


def begin_by_itself(session: Session, package: Package, settings: RolloutSettings, now: datetime) -> None:
    """Begin the rollout of a promoted package, if the product's risk class allows it and none is under way."""
    serialize_product(session, package.product)
    if _open_for(session, package) is None and may_begin_by_itself(session, package.product):
        _add(session, package, Asked(_reason_of(session, package)), settings, now)


def _check_same_wish(session: Session, row: RolloutRow, asked: Asked, settings: RolloutSettings) -> None:
    """A request that is repeated is answered by its rollout; one that wants it otherwise must hear that it is not done.

    Raises:
        ConflictError: other stations, another canary or plan than those of the rollout under way.
    """
    plan = None if asked.plan is None else _plan_of(session, row.product, asked, settings)[0]
    others = [
        word
        for word, is_other in (
            ("stations", bool(asked.stations) and sorted(asked.stations) != sorted(row.asked_stations)),
            ("canary", asked.canary is not None and asked.canary != row.canary),
            ("plan", plan is not None and plan_text(plan) != row.plan),
        )
        if is_other
    ]
    if others:
        raise ConflictError(wished_otherwise(row, others))


def _add(session: Session, package: Package, asked: Asked, settings: RolloutSettings, now: datetime) -> int:
    under_way = _open_for(session, package)
    if under_way is not None:
        raise ConflictError(another_under_way(session.get_one(RolloutRow, under_way)))
    champion = champion_of(session, package.product, is_simulated=package.is_simulated)
    plan, risk = _plan_of(session, package.product, asked, settings)
    previous = champion.package_id if champion else _mostly_run(session, package, asked)
    if previous == package.package_id:
        # Beside itself it would never differ, and its waves would wait for that for ever.
        plan = replace(plan, waves=tuple(replace(wave, shadow=None) for wave in plan.waves))
    training = session.get(Training, package.training_id) if package.training_id else None
    row = RolloutRow(
        package_id=package.package_id,
        previous_package_id=previous,
        product=package.product,
        reason=asked.reason,
        alarm_id=training.alarm_id if training else None,
        created_at=now,
        asked_stations=list(asked.stations),
        canary=asked.canary or settings.canary,
        risk=risk,
        plan=plan_text(plan),
        # A product's first package has nothing to be compared with, and its line may wait for it to start.
        bake_parts=settings.bake_parts if previous else 0,
        machine=text_of(Rollout(waves=(), has_previous=previous is not None)),
        is_simulated=package.is_simulated,
    )
    session.add(row)
    session.flush()
    _LOG.info("rollout added rollout_id=%s package_id=%s reason=%s", row.id, package.package_id, asked.reason)
    return row.id or 0


def _plan_of(session: Session, product: str, asked: Asked, settings: RolloutSettings) -> tuple[RolloutPlan, RiskClass]:
    plan, risk = asked_plan(
        session, product, asked.plan, inherits=asked.inherits, canary=asked.canary, usual=settings.canary
    )
    return (with_stations(plan, asked.stations) if asked.stations else plan), risk


def _mostly_run(session: Session, package: Package, asked: Asked) -> str | None:
    """Of a product without a champion, the other package that most of the stations have: trials alone gave it one."""
    counts = Counter(
        runs
        for address, assigned in assigned_of(session, is_simulated=package.is_simulated)
        if (not asked.stations or address in asked.stations)
        and (runs := assigned.get(package.product)) is not None
        and runs != package.package_id
    )
    # By name where as many have one as another, so that the answer does not hang on the order of rows.
    return max(counts, key=lambda each: (counts[each], each), default=None)


def _open_for(session: Session, package: Package) -> int | None:
    return session.exec(
        select(RolloutRow.id).where(
            RolloutRow.product == package.product,
            RolloutRow.is_simulated == package.is_simulated,
            col(RolloutRow.state).in_(OPEN_ROLLOUTS),
        )
    ).first()


def _reason_of(session: Session, package: Package) -> str:
    training = session.get(Training, package.training_id) if package.training_id else None
    if training is not None:
        return training.reason
    promotion = session.get(Promotion, package.package_id)
    # A package from outside: the first check says who vouched for it, and why.
    return f"imported, {promotion.checks[0]['detail']}" if promotion is not None and promotion.checks else "promoted"
