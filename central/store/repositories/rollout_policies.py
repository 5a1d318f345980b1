# SPDX-License-Identifier: Apache-2.0
"""What people set for rollouts: policies of products, freezes, labels of stations. Reads and writes rows, no rule.

Used by `services/rollouts/planning.py` and the API.
"""

from collections.abc import Mapping
from datetime import datetime

from pydantic import TypeAdapter
from sqlmodel import Session, col, delete, or_, select

from central.domain.calendar import Freeze
from central.domain.rollout_plan import RolloutPlan
from central.store.rollout_tables import FreezeRow, RolloutEvent, RolloutPolicyRow, StationLabel
from central.store.tables import Station

_PLAN: TypeAdapter[RolloutPlan] = TypeAdapter(RolloutPlan)


def plan_text(plan: RolloutPlan) -> str:
    """A plan as its column holds it."""
    return _PLAN.dump_json(plan).decode()


def read_plan(text: str) -> RolloutPlan:
    """A plan out of its column."""
    return _PLAN.validate_json(text)


def policy_of(session: Session, product: str) -> RolloutPolicyRow | None:
    """What people set for the product; None: nothing."""
    return session.get(RolloutPolicyRow, product)


def policies(session: Session) -> list[RolloutPolicyRow]:
    """By product."""
    return list(session.exec(select(RolloutPolicyRow).order_by(RolloutPolicyRow.product)).all())


def freezes(session: Session, now: datetime) -> list[FreezeRow]:
    """Those that hold now or will, soonest first."""
    wanted = select(FreezeRow).where(FreezeRow.ends > now, col(FreezeRow.lifted_at).is_(None))
    return list(session.exec(wanted.order_by(col(FreezeRow.begins), col(FreezeRow.id))).all())


def past_freezes(session: Session, now: datetime, limit: int) -> list[FreezeRow]:
    """Those that ended or were lifted, newest first: who froze what, and who lifted it."""
    over = or_(col(FreezeRow.ends) <= now, col(FreezeRow.lifted_at).is_not(None))
    return list(session.exec(select(FreezeRow).where(over).order_by(col(FreezeRow.id).desc()).limit(limit)).all())


def same_freeze(session: Session, like: FreezeRow) -> FreezeRow | None:
    """One that nobody lifted, of the same site, times and reason: the same wish, said again."""
    site = col(FreezeRow.site).is_(None) if like.site is None else col(FreezeRow.site) == like.site
    wanted = select(FreezeRow).where(
        site,
        FreezeRow.begins == like.begins,
        FreezeRow.ends == like.ends,
        FreezeRow.reason == like.reason,
        col(FreezeRow.lifted_at).is_(None),
    )
    return session.exec(wanted.order_by(col(FreezeRow.id)).limit(1)).first()


def in_force(session: Session, now: datetime) -> tuple[Freeze, ...]:
    """The same for the calendar, begun or not."""
    return tuple(Freeze(row.begins, row.ends, row.reason, row.site) for row in freezes(session, now))


def labels(session: Session) -> dict[str, dict[str, str]]:
    """By station address; stations without a label are left out."""
    found: dict[str, dict[str, str]] = {}
    rows = select(Station.address, StationLabel).join(Station, col(Station.id) == StationLabel.station_id)
    for address, row in session.exec(rows.order_by(Station.address, StationLabel.label)).all():
        found.setdefault(address, {})[row.label] = row.value
    return found


def set_labels(session: Session, station_id: int, said: Mapping[str, str]) -> None:
    """These and no others."""
    session.exec(delete(StationLabel).where(col(StationLabel.station_id) == station_id))
    session.add_all(StationLabel(station_id=station_id, label=label, value=value) for label, value in said.items())


def events(session: Session, rollout_id: int) -> list[RolloutEvent]:
    """Every step of a rollout, oldest first."""
    wanted = select(RolloutEvent).where(RolloutEvent.rollout_id == rollout_id).order_by(col(RolloutEvent.id))
    return list(session.exec(wanted).all())
