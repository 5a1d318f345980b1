# SPDX-License-Identifier: Apache-2.0
"""Rates with the interval that belongs to them.

Estimates shares from counts and from audits drawn with known inclusion probability. Does not know where the
counts come from, and never turns "nothing judged" into 0: with an empty denominator the estimate is None.
Called by the API (every shown rate), by the watch, by the rollout rules and by the promotion gate.

The situation of `escape_interval` (full truth cannot be had, so a random draw is judged) is the one that
VDI/VDE/VDMA 2632 Part 4.2 (2024) is about; only its public abstract was read, the method here is our own choice.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

METHOD_EXACT: Final = "Clopper-Pearson"
METHOD_WEIGHTED: Final = "Hajek estimate, Fay-Kim mid-p gamma interval"

# Probabilities that differ by less are equal: they come out of divisions.
_SAME: Final = 1e-9


@dataclass(frozen=True)
class Interval:
    """A share with its confidence interval. `estimate` None: not known, `low` 0 and `high` 1 then."""

    low: float
    estimate: float | None
    high: float
    method: str = METHOD_EXACT


_NOT_KNOWN: Final = Interval(0.0, None, 1.0)


def binomial_interval(count: int, of: int, confidence: float = 0.95) -> Interval:
    """Exact interval for `count` of `of` (Clopper and Pearson, Biometrika 1934).

    Assumes independent parts with one common probability. Coverage is at least `confidence` for every true
    share, hence rather too wide than too narrow.

    Raises:
        ValueError: counts that cannot be, or a confidence outside 0 … 1; the caller has a fault.
    """
    _require_confidence(confidence)
    if of < 0 or not 0 <= count <= of:
        msg = f"interval: expected 0 <= count <= of, got count={count}, of={of}"
        raise ValueError(msg)
    if of == 0:
        return _NOT_KNOWN
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else float(stats.beta.ppf(tail, count, of - count + 1))
    high = 1.0 if count == of else float(stats.beta.ppf(1.0 - tail, count + 1, of - count))
    return Interval(low, count / of, high)


def escape_interval(
    defective: npt.NDArray[np.bool_],
    inclusion_probability: npt.NDArray[np.float64],
    accepted: int,
    confidence: float = 0.95,
) -> Interval:
    """Share of defective parts among the *accepted* ones, from audits drawn by chance.

    Not `escape_rate`, whose denominator is all defective parts: of those, nobody knows how many there are.

    Args:
        defective: bool [n], what people said of each judged audit (leave UNSURE and LOST out).
        inclusion_probability: float [n], in (0, 1]: chance with which each of them was drawn.
        accepted: how many accepted parts the draw stood for; at least n.
        confidence: of the two-sided interval.

    The estimate weighs each audit by 1/probability, normed by the sum of weights (Hájek 1971), so that a
    stratum whose audits were partly lost does not pull the share towards 0. Assumes that a lost audit is
    lost by chance, not because of what it would have shown, and that no part speaks for another (a run of
    equal parts drawn together counts for more than it is; the spread draw of `sampling.py` avoids that).

    Interval: Clopper–Pearson when all probabilities are equal, which never covers less than it says. Otherwise
    the mid-p gamma interval for weighted sums (Fay and Kim, Biometrical Journal 2017, after Fay and Feuer,
    Statistics in Medicine 1997): one more defective part of the largest weight is allowed for, at half its
    chance. It treats counts as Poisson, which is too wide where many are defective; above one half the good
    parts are counted instead. Its coverage is near `confidence`, not bound to be above it: mid-p. Both are cut
    to what is certain, the defective and good parts already found among `accepted`.

    Raises:
        ValueError: arrays of unequal length, values that are not yes or no, probabilities outside (0, 1], fewer
            accepted than judged, a confidence outside 0 … 1; the caller has a fault.
    """
    return _weighted_share("escape interval", defective, inclusion_probability, accepted, confidence)


def overkill_interval(
    good: npt.NDArray[np.bool_],
    inclusion_probability: npt.NDArray[np.float64],
    rejected: int,
    confidence: float = 0.95,
) -> Interval:
    """Share of good parts among the *rejected* ones, from rejects that people judged again.

    Args:
        good: bool [n], what people said of each judged reject; see `agreement.by_majority` for two of three.
        inclusion_probability: float [n], in (0, 1]: chance with which each reject was put before people.
        rejected: how many rejected parts the draw stood for; at least n.
        confidence: of the two-sided interval.

    Methods, assumptions and errors as in `escape_interval`. Rejects that people chose to look at, instead of
    chance, may not go in.

    Raises:
        ValueError: as in `escape_interval`.
    """
    return _weighted_share("overkill interval", good, inclusion_probability, rejected, confidence)


def _weighted_share(
    name: str,
    found: npt.NDArray[np.bool_],
    inclusion_probability: npt.NDArray[np.float64],
    population: int,
    confidence: float,
) -> Interval:
    _require_confidence(confidence)
    hit, chance = _checked(name, found, inclusion_probability)
    judged = len(hit)
    if not float(population).is_integer() or population < judged:
        msg = f"{name}: expected a whole number of parts, at least the {judged} judged ones, got {population}"
        raise ValueError(msg)
    if judged == 0:
        return _NOT_KNOWN
    count = int(np.count_nonzero(hit))
    if np.ptp(chance) <= _SAME * float(chance.max()):
        interval = binomial_interval(count, judged, confidence)
    else:
        interval = _mid_p_gamma(hit, 1.0 / chance, confidence)
    certain_low, certain_high = count / population, 1.0 - (judged - count) / population
    low, high = max(interval.low, certain_low), min(interval.high, certain_high)
    estimate = min(max(interval.estimate or 0.0, certain_low), certain_high)
    return Interval(min(low, estimate), estimate, max(high, estimate), interval.method)


def _checked(
    name: str, found: npt.NDArray[np.bool_], inclusion_probability: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    given, chance = np.asarray(found), np.asarray(inclusion_probability, dtype=np.float64)
    if given.ndim != 1 or chance.shape != given.shape:
        msg = f"{name}: expected two arrays of one length, got shapes {given.shape} and {chance.shape}"
        raise ValueError(msg)
    if given.size and given.dtype != np.bool_ and not np.all((given == 0) | (given == 1)):
        msg = f"{name}: expected judgements that are true or false, got {given.dtype}; leave unsure ones out"
        raise ValueError(msg)
    # Asked this way round, NaN is refused too.
    wrong = ~((chance > 0.0) & (chance <= 1.0))
    if wrong.any():
        msg = f"{name}: expected inclusion probabilities in (0, 1], got {chance[wrong][0]}; keep what the draw returned"
        raise ValueError(msg)
    return given.astype(np.bool_), chance


def _mid_p_gamma(hit: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64], confidence: float) -> Interval:
    share = weight / weight.sum()
    estimate = float(share[hit].sum())
    if estimate > 0.5:
        good = _mid_p_gamma(~hit, weight, confidence)
        return Interval(1.0 - good.high, estimate, 1.0 - good.low, METHOD_WEIGHTED)
    low, high = _mid_p_ends(estimate, float((share[hit] ** 2).sum()), float(share.max()), (1.0 - confidence) / 2.0)
    return Interval(low, estimate, min(1.0, high), METHOD_WEIGHTED)


def _mid_p_ends(estimate: float, variance: float, largest: float, tail: float) -> tuple[float, float]:
    """Ends of the half-and-half mixture of the gamma distributions that give Fay and Feuer's two limits."""
    above, above_variance = estimate + largest, variance + largest**2
    shape, scale = above**2 / above_variance, above_variance / above
    if estimate == 0.0:
        # The lower distribution is all at 0: the mixture reaches 1 - tail where the upper one reaches 1 - 2 tail.
        return 0.0, scale * float(special.gammaincinv(shape, 1.0 - 2.0 * tail))
    below_shape, below_scale = estimate**2 / variance, variance / estimate

    def excess(value: float, level: float) -> float:
        below = special.gammainc(below_shape, value / below_scale)
        return float(0.5 * (below + special.gammainc(shape, value / scale)) - level)

    # The mixture has reached a level at the latest where both of its halves have.
    def end(level: float) -> float:
        reached = max(
            below_scale * float(special.gammaincinv(below_shape, level)),
            scale * float(special.gammaincinv(shape, level)),
        )
        return float(optimize.brentq(excess, 0.0, reached * (1.0 + 1e-9), args=(level,), xtol=1e-14, rtol=1e-10))

    return end(tail), end(1.0 - tail)


def _require_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0 or math.isnan(confidence):
        msg = f"interval: expected a confidence between 0 and 1, got {confidence}"
        raise ValueError(msg)


class WeightedShare(Protocol):
    """`escape_interval` or `overkill_interval`."""

    def __call__(
        self,
        found: npt.NDArray[np.bool_],
        inclusion_probability: npt.NDArray[np.float64],
        population: int,
        confidence: float,
        /,
    ) -> Interval:
        """Interval of a share from judged audits."""


def with_unsettled(
    share: WeightedShare,
    found: npt.NDArray[np.bool_],
    inclusion_probability: npt.NDArray[np.float64],
    unsettled_probability: npt.NDArray[np.float64],
    population: int,
    *,
    confidence: float = 0.95,
) -> Interval:
    """The share while some audits wait for another inspector: whatever these turn out to be, the interval holds.

    Who waits was called defective by somebody, so to leave them out until they are settled would show an escape share
    too low just while escapes come in. Low takes all of them for not found, high for found; the estimate is that of the
    settled ones.

    Args:
        share: which of the two.
        found: bool [n], of the settled ones, and
        inclusion_probability: float [n], in (0, 1].
        unsettled_probability: float [m], in (0, 1], of those that wait.
        population: how many parts the draw stood for, at least n + m.
        confidence: of the two-sided interval.

    Raises:
        ValueError: as `escape_interval`.
    """
    settled = share(found, inclusion_probability, population, confidence)
    waiting = len(unsettled_probability)
    if waiting == 0:
        return settled
    chance = np.concatenate([inclusion_probability, unsettled_probability])
    ends = [
        share(np.concatenate([found, np.full(waiting, is_found)]), chance, population, confidence)
        for is_found in (False, True)
    ]
    return Interval(min(settled.low, ends[0].low), settled.estimate, max(settled.high, ends[1].high), ends[1].method)
