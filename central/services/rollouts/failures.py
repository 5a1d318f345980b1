# SPDX-License-Identifier: Apache-2.0
"""Calls people when a rollout went back by itself, and lets that rest once a later one of the product is through.

In the transaction that ends the rollout, so that none goes back without a word. A rollout that a person ended raises
nothing: that person knows. Called by `services/rollouts/moving.py`; moves no rollout.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlmodel import Session

from central.domain.naming import some_of
from central.domain.rollout import has_shadow
from central.domain.rollout_shapes import Progress, Rollout
from central.domain.way_back import WayBack
from central.services.alarms.rows import Signal, close, open_alarms, raise_alarm
from central.services.rollouts.ways_back import by_way, in_lines
from central.store.learning_tables import RolloutRow
from contracts.vocabulary import AlarmKind

_MOST_STATIONS: Final = 100
_NO_WAYS: Final[Mapping[str, WayBack]] = MappingProxyType({})
# How stations stand that had the package, once it has ended: each of them was sent back.
_HAD: Final = frozenset({Progress.ERRED, Progress.ROLLED_BACK, Progress.SET_ASIDE})


def tell_failure(
    session: Session,
    row: RolloutRow,
    after: Rollout,
    now: datetime,
    ways: Mapping[str, WayBack] = _NO_WAYS,
    *,
    left: Sequence[str] = (),
) -> None:
    """Raise the alarm of a rollout that has ended with `ERROR`.

    `ways`: where each station was ordered back to. `left`: stations that have the package from a trial, and that it had
    not come to.
    """
    judged, only_shadow = _had(after)
    raise_alarm(
        session,
        Signal(
            kind=AlarmKind.ROLLOUT_FAILED,
            product=row.product,
            is_simulated=row.is_simulated,
            message=f"Rollout {row.id} of {row.product} went back by itself: {_why(after)}.",
            remedy=_remedy(judged, only_shadow, ways, left, has_previous=after.has_previous),
            evidence={
                "chart": f"rollout {row.id} went back",
                "rollout_id": row.id,
                "package_id": row.package_id,
                "stations": [*judged, *only_shadow][:_MOST_STATIONS],
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


def _had(after: Rollout) -> tuple[list[str], list[str]]:
    """Stations that were given the package to judge with, and those that had it in shadow alone."""
    judged, only_shadow = list[str](), list[str]()
    for wave in after.waves:
        had = only_shadow if has_shadow(after, wave) and not wave.is_shown else judged
        for item in wave.stations:
            if item.progress in _HAD:
                (judged if item.has_it else had).append(item.station)
    return judged, only_shadow


def _remedy(
    judged: list[str], only_shadow: list[str], ways: Mapping[str, WayBack], left: Sequence[str], *, has_previous: bool
) -> str:
    # Ordered, and no more: whether a station has gone back stands in its own word.
    told = []
    elsewhere = by_way(ways)
    back = [name for name in judged if not any(name in names for names in elsewhere.values())]
    if back and has_previous:
        told.append(f"The package of before was ordered back at {some_of(back)}.")
    elif back:
        told.append(f"It was ordered off {some_of(back)}, and no package judges there then: there was none before.")
    told += [f"{line}." for line in in_lines(ways)]
    if only_shadow:
        told.append(f"At {some_of(only_shadow)} it was in shadow: there it let no part pass.")
    if left:
        told.append(
            f"From a trial it still judges at {some_of(left)}, where this rollout had not come: roll out what should "
            "judge there."
        )
    look = "and look at its quarantine list there: parts that the new package let pass, the riskiest first"
    return " ".join([*told, f"See why on the rollout's page{f', {look}' if judged else ''}."])


def _why(after: Rollout) -> str:
    """The line that names the end, without its time and state."""
    said = next((line for line in reversed(after.history) if f" {after.state.value}: " in line), after.history[-1])
    return said.partition(f" {after.state.value}: ")[2] or said
