# SPDX-License-Identifier: Apache-2.0
"""Calls people when a rollout went back by itself, and lets that rest once a later one of the product is through.

In the transaction that ends the rollout, so that none goes back without a word. A rollout that a person ended raises
nothing: that person knows. Called by `services/rollouts.py`; moves no rollout.
"""

from datetime import datetime
from typing import Final

from sqlmodel import Session

from central.domain.naming import some_of
from central.domain.rollout_shapes import Rollout
from central.services.alarms import Signal, close, open_alarms, raise_alarm
from central.store.learning_tables import RolloutRow
from contracts.vocabulary import AlarmKind

_MOST_STATIONS: Final = 100


def tell_failure(session: Session, row: RolloutRow, after: Rollout, now: datetime) -> None:
    """Raise the alarm of a rollout that has ended with `ERROR`."""
    touched = after.touched
    raise_alarm(
        session,
        Signal(
            kind=AlarmKind.ROLLOUT_FAILED,
            product=row.product,
            is_simulated=row.is_simulated,
            message=f"Rollout {row.id} of {row.product} went back by itself: {_why(after)}.",
            remedy=_remedy(after),
            evidence={
                "chart": f"rollout {row.id} went back",
                "rollout_id": row.id,
                "package_id": row.package_id,
                "stations": list(touched[:_MOST_STATIONS]),
                "said": list(after.history[-3:]),
            },
        ),
        now,
    )


def rest_failures(session: Session, row: RolloutRow, now: datetime) -> None:
    """Close the alarms of earlier rollouts of the product: a later one has finished."""
    for alarm in open_alarms(session, AlarmKind.ROLLOUT_FAILED):
        if (alarm.product, alarm.is_simulated) == (row.product, row.is_simulated):
            close(alarm, f"rollout {row.id} finished", now)
            session.add(alarm)


def _remedy(after: Rollout) -> str:
    if not after.touched:
        return "No station had been given its package. See why on the rollout's page."
    where = some_of(after.touched)
    now_there = (
        "The package of before judges again" if after.has_previous else "No package judges: there was none before"
    )
    return (
        f"{now_there} at {where}. See why on the rollout's page, and look at its quarantine list there: parts that the "
        "new package let pass, the riskiest first."
    )


def _why(after: Rollout) -> str:
    """The line that names the end, without its time and state."""
    said = next((line for line in reversed(after.history) if f" {after.state.value}: " in line), after.history[-1])
    return said.partition(f" {after.state.value}: ")[2] or said
