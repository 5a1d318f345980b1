# SPDX-License-Identifier: Apache-2.0
"""An alarm while the gate waits for a person's word on a product's newest package; one for each product.

Raised where evidence is all that is missing and the terms ask a person, closed by itself when somebody overrules, when
a newer package of the product is decided on, and when another package became champion, after which nobody can overrule.
Decides nothing. Every function works in the caller's transaction. Called by `promoting`, and by the overruling.
"""

from datetime import datetime
from typing import Final

from sqlmodel import Session

from central.services.alarms.rows import Signal, close, open_alarms, raise_alarm
from central.services.gates.evidence import asks_person
from central.store.gate_tables import GateRun
from central.store.learning_tables import Champion, Package, Promotion
from contracts.vocabulary import AlarmKind, ConditionState

_MOST_NAMED: Final = 5


def tell_decided(session: Session, package: Package, promotion: Promotion, now: datetime) -> None:
    """The gate has just said this of a package: what was asked before is past, what is asked now is told."""
    settle(
        session, package.product, is_simulated=package.is_simulated, by=f"package {_short(package)} decided", now=now
    )
    row = session.get(GateRun, package.package_id)
    if not asks_person(row, promotion) or row is None or row.evidence is None:
        return
    missing = [
        each["name"]
        for each in row.evidence["conditions"]
        if each["is_demanded"] and each["state"] == ConditionState.NOT_ENOUGH_EVIDENCE.value
    ]
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    raise_alarm(
        session,
        Signal(
            kind=AlarmKind.GATE_ASKS,
            product=package.product,
            is_simulated=package.is_simulated,
            message=(
                f"Package {_short(package)} of {package.product} failed nothing at the gate, but {len(missing)} of "
                f"{len(row.evidence['conditions'])} conditions have too little evidence: "
                f"{', '.join(missing[:_MOST_NAMED])}{more}. No station gets it."
            ),
            remedy=(
                "Look at its conditions on the page Gate; an engineer may let it out there, with a reason. Judge more "
                "audits or add reference parts of the kinds that are missing, and train anew; or widen the margins."
            ),
            evidence={"package_id": package.package_id, "missing": missing},
        ),
        now,
    )


def settle(session: Session, product: str, *, is_simulated: bool, by: str, now: datetime) -> None:
    """Close what is open about a product."""
    for alarm in open_alarms(session, AlarmKind.GATE_ASKS):
        if (alarm.product, alarm.is_simulated) == (product, is_simulated):
            close(alarm, by, now)
            session.add(alarm)


def settle_superseded(session: Session, now: datetime) -> None:
    """Close those about packages that were measured beside a champion that judges no more."""
    for alarm in open_alarms(session, AlarmKind.GATE_ASKS):
        promotion = session.get(Promotion, alarm.evidence.get("package_id", ""))
        champion = session.get(Champion, (alarm.product or "", alarm.is_simulated))
        judging = champion.package_id if champion is not None else None
        if promotion is None or promotion.champion_package_id != judging:
            close(alarm, "another package became champion", now)
            session.add(alarm)


def _short(package: Package) -> str:
    return package.package_id[:12]
