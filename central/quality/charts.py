# SPDX-License-Identifier: Apache-2.0
"""Control charts as pure functions of rows: p chart, Bernoulli CUSUM, EWMA on block means.

Every chart is recomputed from stored rows, so nothing is lost when central restarts. Raises no alarm and says
no cause: `services/watching.py` turns signals into alarms, the API draws the points. Phase I learns limits from
a reference period, phase II watches with limits that no longer move (ISO 7870-2:2023, clauses 4.9 and 4.10 by
its contents list; the formulas are from the papers named below).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

# Above this many states the chain's linear system grows slow; reached only with absurd settings.
_MOST_STATES: Final = 4000


@dataclass(frozen=True)
class BinomialLimits:
    """Action limits of a p chart for one sample size, as shares. A value strictly outside signals."""

    low: float
    high: float


def p_chart_limits(
    reference_count: int, reference_of: int, of: int, false_alarm_rate: float = 0.0027
) -> BinomialLimits:
    """Exact binomial limits for a sample of `of` parts, each tail with half of `false_alarm_rate`.

    The reference share is taken as known; that is fair only when the reference period is much longer than one
    sample. Exact tails instead of ±3 sigma, because the normal approximation has no sense at shares near 0.

    Raises:
        ValueError: an empty reference period or sample: there is nothing to draw a limit from.
    """
    if reference_of <= 0 or of <= 0:
        msg = f"p chart: expected parts in reference and sample, got {reference_of} and {of}"
        raise ValueError(msg)
    # Half a part is added so that a reference without any reject does not forbid the first one for ever.
    share = (reference_count + 0.5) / (reference_of + 1.0)
    tail = false_alarm_rate / 2.0
    low, high = stats.binom.ppf(tail, of, share), stats.binom.ppf(1.0 - tail, of, share)
    return BinomialLimits(float(low) / of, float(high) / of)


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


@dataclass(frozen=True)
class EwmaPath:
    """EWMA over block means. Limits are None while phase I lasts, and then one pair per block of phase II.

    `signal_at` lists the blocks outside their limits. `deviation` is of single block means around the centre.
    """

    centre: float | None
    deviation: float | None
    value: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    reference_blocks: int
    signal_at: tuple[int, ...]


def block_means(values: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    """Means of whole blocks of `block` values, in order; an unfinished last block is left out.

    Camera values follow each other closely (autocorrelation); means of blocks much less, which is what the
    limits of the chart assume.
    """
    whole = len(values) // block
    means: npt.NDArray[np.float64] = values[: whole * block].reshape(whole, block).mean(axis=1)
    return means


def ewma_chart(
    blocks: npt.NDArray[np.float64],
    reference_blocks: int,
    smoothing: float = 0.2,
    width: float = 3.5,
    least_deviation: float = 0.0,
) -> EwmaPath:
    """EWMA control chart (Roberts 1959; exact time-varying limits, Lucas and Saccucci 1990).

    The first `reference_blocks` means are phase I: their mean and standard deviation fix centre and limits for
    all later ones. `least_deviation` keeps a reference period that was by chance too quiet from alarming on
    every breath; in units of the value.

    Raises:
        ValueError: fewer than 4 reference blocks or a smoothing outside (0, 1].
    """
    if reference_blocks < 4 or not 0.0 < smoothing <= 1.0:
        msg = f"EWMA: expected at least 4 reference blocks and 0 < smoothing <= 1, got {reference_blocks}, {smoothing}"
        raise ValueError(msg)
    empty = np.empty(0)
    if len(blocks) < reference_blocks:
        return EwmaPath(None, None, empty, empty, empty, reference_blocks, ())
    reference, watched = blocks[:reference_blocks], blocks[reference_blocks:]
    centre = float(reference.mean())
    deviation = max(float(reference.std(ddof=1)), least_deviation)
    value = np.empty(len(watched))
    level = centre
    for index, block in enumerate(watched):
        level = smoothing * float(block) + (1.0 - smoothing) * level
        value[index] = level
    step = np.arange(1, len(watched) + 1)
    # The centre itself is an estimate from phase I: its variance is added, or short references would cry wolf.
    spread = smoothing / (2.0 - smoothing) * (1.0 - (1.0 - smoothing) ** (2 * step)) + 1.0 / reference_blocks
    half = width * deviation * np.sqrt(spread)
    outside = np.flatnonzero(np.abs(value - centre) > half)
    signals = tuple(int(index) for index in outside)
    return EwmaPath(centre, deviation, value, centre - half, centre + half, reference_blocks, signals)
