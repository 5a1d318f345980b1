# SPDX-License-Identifier: Apache-2.0
"""Tabular CUSUM of a measured value, two-sided, with its mean run length. Raises no alarm."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
# Half of it is by how much a normal sum passes a limit on average: 2 * .583.
_OVERSHOOT: Final = 1.166


@dataclass(frozen=True)
class TabularCusum:
    """The two sums after each sample, in standard deviations, each 0 or more.

    began: int [n], for the larger of both the sample at which its present rise began: the estimate of the onset once it
    signals. signal_at: samples above the limit.
    """

    up: Floats
    down: Floats
    began: npt.NDArray[np.int64]
    limit: float
    signal_at: tuple[int, ...]


def tabular_cusum(
    values: Floats, centre: float, deviation: float, *, slack: float = 0.5, limit: float = 5.0, head_start: float = 0.0
) -> TabularCusum:
    """Two-sided CUSUM (Page 1954; ISO 7870-4 treats it). Goes on past a signal.

    Args:
        values: float [n], independent and about normal while in control: means of blocks, not single parts.
        centre: mean of phase I, taken as known; same unit as `values`.
        deviation: standard deviation of phase I, likewise.
        slack: half of the shift to be found, in deviations.
        limit: of either sum, in deviations.
        head_start: start value of both sides, for a process that was just adjusted (Lucas and Crosier 1982: limit / 2).

    Raises:
        ValueError: no deviation, or a limit or slack out of bounds.
    """
    _require(deviation=deviation, slack=slack, limit=limit)
    standard = (values - centre) / deviation
    up, down = np.empty(len(values)), np.empty(len(values))
    began = np.zeros(len(values), dtype=np.int64)
    high = low = head_start
    high_from = low_from = 0
    for index, value in enumerate(standard.tolist()):
        if high == 0:
            high_from = index
        if low == 0:
            low_from = index
        high, low = max(0.0, high + value - slack), max(0.0, low - value - slack)
        up[index], down[index] = high, low
        began[index] = high_from if high >= low else low_from
    signals = np.flatnonzero(np.maximum(up, down) > limit)
    return TabularCusum(up, down, began, limit, tuple(int(index) for index in signals))


def cusum_mean_run_length(slack: float, limit: float, shift: float = 0.0, *, two_sided: bool = True) -> float:
    """Mean number of samples until the CUSUM signals when the mean lies `shift` deviations off (0: false alarms).

    Brook and Evans (Biometrika 1972): a Markov chain over 200 steps of the statistic, started at 0. Both sides are put
    together by 1/L = 1/L₊ + 1/L₋ (Kemp 1961). Assumes independent normal values and known limits.
    """
    _require(deviation=1.0, slack=slack, limit=limit)
    upper = _one_sided(slack, limit, shift)
    if not two_sided:
        return upper
    return 1.0 / (1.0 / upper + 1.0 / _one_sided(slack, limit, -shift))


@lru_cache(maxsize=64)
def cusum_limit(slack: float, false_alarm_every: float, reference: int) -> float:
    """The limit with so many samples between false alarms although the centre was learnt from few samples.

    A centre that is off by chance makes one side drift: with a reference of 20 a limit of 5 gives 154 samples between
    false alarms instead of 465. The rate of false alarms is averaged over what the centre of `reference` independent
    normal samples may be off; mean run lengths by Siegmund's approximation (Sequential Analysis, 1985), which is within
    1 in 50 of the Markov chain here.

    Args:
        slack: as of the chart, above 0.
        false_alarm_every: samples, at least 2.
        reference: samples that the centre was learnt from, at least 4.

    Raises:
        ValueError: numbers out of bounds.
    """
    if false_alarm_every < 2 or reference < 4 or slack <= 0:
        msg = (
            "CUSUM: expected at least 2 samples between false alarms, a reference of at least 4 and slack > 0, got "
            f"{false_alarm_every}, {reference}, {slack}"
        )
        raise ValueError(msg)
    off, weight = np.polynomial.hermite_e.hermegauss(31)
    off, weight = off / reference**0.5, weight / weight.sum()

    def missing(limit: float) -> float:
        rate = float(weight @ (1.0 / _siegmund(slack + off, limit) + 1.0 / _siegmund(slack - off, limit)))
        return 1.0 / rate - false_alarm_every

    highest = 2.0
    while missing(highest) < 0:
        highest *= 2
    return float(brentq(missing, 0.01, highest))


def _siegmund(drift: Floats, limit: float) -> Floats:
    """Mean run length of one side whose sum falls by `drift` a sample on average (negative: it rises)."""
    far = limit + _OVERSHOOT
    # At no drift both terms vanish; a hair off it is the limit, far².
    safe = np.where(np.abs(drift) < 1e-6, 1e-6, drift)
    power = np.minimum(2.0 * safe * far, 600.0)
    return np.asarray((np.exp(power) - power - 1.0) / (2.0 * safe**2), dtype=np.float64)


def _one_sided(slack: float, limit: float, shift: float, steps: int = 200) -> float:
    width = 2 * limit / (2 * steps - 1)
    state = np.arange(steps)
    distance = (state[None, :] - state[:, None]) * width + slack - shift
    chance = norm.cdf(distance + width / 2) - norm.cdf(distance - width / 2)
    chance[:, 0] = norm.cdf(distance[:, 0] + width / 2)
    return float(np.linalg.solve(np.eye(steps) - chance, np.ones(steps))[0])


def _require(*, deviation: float, slack: float, limit: float) -> None:
    if not (deviation > 0 and slack >= 0 and limit > 0):
        msg = f"CUSUM: expected deviation > 0, slack >= 0, limit > 0, got {deviation}, {slack}, {limit}"
        raise ValueError(msg)
