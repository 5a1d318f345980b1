# SPDX-License-Identifier: Apache-2.0
"""Bernoulli CUSUM over single judgements, with its exact mean time to a false alarm. Raises no alarm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

# Above this many states the chain's linear system grows slow; reached only with absurd settings.
_MOST_STATES: Final = 4000


@dataclass(frozen=True)
class CusumPlan:
    """A Bernoulli CUSUM in whole steps: a good part goes `1` down (not below 0), a defective one `up` up.

    Signals when the statistic reaches `limit`. `false_alarm_every`: mean number of audits between false alarms
    while the share is the tolerated one, computed exactly, not below what was asked for.
    """

    up: int
    limit: int
    false_alarm_every: float


@dataclass(frozen=True)
class CusumPath:
    """The statistic after each audit, and the index at which it first reached the limit (None: never)."""

    value: npt.NDArray[np.int64]
    signal_at: int | None


@lru_cache(maxsize=32)
def plan_cusum(tolerated_share: float, rejected_share: float, false_alarm_every: int) -> CusumPlan:
    """Design a Bernoulli CUSUM for a rise from `tolerated_share` to `rejected_share`.

    Reynolds and Stoumbos (Journal of Quality Technology 1999): the reference value is r1/r2 of the likelihood
    ratio, rounded to 1/m, so that the statistic moves on whole steps and its mean time to a false alarm follows
    exactly from a Markov chain. The smallest limit that keeps it at `false_alarm_every` or above is taken.
    Assumes independent audits; weights are not used, each audited accepted part counts once.

    Raises:
        ValueError: shares not in order, or so close together that no limit of bearable size exists.
    """
    if not 0.0 < tolerated_share < rejected_share < 1.0 or false_alarm_every < 2:
        msg = (
            "escape chart: expected 0 < tolerated share < rejected share < 1 and at least 2 audits between false "
            f"alarms, got {tolerated_share}, {rejected_share}, {false_alarm_every}"
        )
        raise ValueError(msg)
    r1 = math.log((1 - tolerated_share) / (1 - rejected_share))
    r2 = math.log(rejected_share * (1 - tolerated_share) / (tolerated_share * (1 - rejected_share)))
    up = max(1, round(r2 / r1) - 1)
    low, high = 0, 1
    while mean_run_length(up, high, tolerated_share) < false_alarm_every:
        low, high = high, high * 2
        if high > _MOST_STATES:
            msg = f"escape chart: shares {tolerated_share} and {rejected_share} lie too close for {false_alarm_every}"
            raise ValueError(msg)
    while high - low > 1:
        middle = (low + high) // 2
        if mean_run_length(up, middle, tolerated_share) < false_alarm_every:
            low = middle
        else:
            high = middle
    return CusumPlan(up, high, mean_run_length(up, high, tolerated_share))


def mean_run_length(up: int, limit: int, share: float) -> float:
    """Mean number of audits until the CUSUM signals, started at 0, when each is defective with chance `share`."""
    chance = np.zeros((limit, limit))
    state = np.arange(limit)
    np.add.at(chance, (state, np.maximum(state - 1, 0)), 1.0 - share)
    risen = state + up < limit
    chance[state[risen], state[risen] + up] += share
    return float(np.linalg.solve(np.eye(limit) - chance, np.ones(limit))[0])


def follow_cusum(defective: Sequence[bool] | npt.NDArray[np.bool_], plan: CusumPlan) -> CusumPath:
    """Run the CUSUM over audits in the order in which the parts were made. Goes on past a signal."""
    value = np.zeros(len(defective), dtype=np.int64)
    statistic, signal_at = 0, None
    for index, is_defective in enumerate(defective):
        statistic = statistic + plan.up if is_defective else max(0, statistic - 1)
        value[index] = statistic
        if statistic >= plan.limit and signal_at is None:
            signal_at = index
    return CusumPath(value, signal_at)
