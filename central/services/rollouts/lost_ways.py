# SPDX-License-Identifier: Apache-2.0
"""Calls people where a station had to give a package up and nothing was left to go back to.

In the transaction that orders it. Closed by `services/rollouts/assignment_watch.py` once a package judges there again.
Called by `services/rollouts/moving.py` and `services/rollouts/refused_ways_back.py`.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Session

from central.domain.way_back import WayBack
from central.services.alarms.rows import Signal, raise_alarm
from central.store.learning_tables import RolloutRow
from contracts.vocabulary import AlarmKind


def tell_lost_ways(session: Session, row: RolloutRow, ways: Mapping[str, WayBack], now: datetime) -> None:
    """Raise the alarm of each station that goes back to nothing though it had a package before."""
    for address, way in ways.items():
        if not way.is_lost:
            continue
        raise_alarm(
            session,
            Signal(
                kind=AlarmKind.NOT_AS_ASSIGNED,
                station=address,
                is_simulated=row.is_simulated,
                message=(
                    f"No package judges {row.product} at {address}: rollout {row.id} was taken back there, and it "
                    f"{way.in_words()}."
                ),
                remedy=(
                    f"Its parts of {row.product} go to the fail-safe output. Roll out a package of the product that is "
                    "published; the alarm closes once one judges there."
                ),
                evidence={"without": {row.product: row.id}, "said": [way.in_words()]},
            ),
            now,
        )
