# SPDX-License-Identifier: Apache-2.0
"""Rates with the interval that belongs to them.

Estimates shares from counts and from audits drawn with known inclusion probability. Does not know where the
counts come from, and never turns "nothing judged" into 0: with an empty denominator the estimate is None.
Called by the API (every shown rate), by the rollout rules and by the promotion gate.

The situation of `escape_share` (full truth cannot be had, so a random draw is judged) is the one that
VDI/VDE/VDMA 2632 Part 4.2 (2024) is about; only its public abstract was read, the method here is our own choice.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

METHOD_EXACT: Final = "Clopper-Pearson"
METHOD_WEIGHTED: Final = "Hajek estimate, Fay-Feuer gamma interval"


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


def escape_share(
    defective: npt.NDArray[np.bool_],
    inclusion_probability: npt.NDArray[np.float64],
    accepted: int,
    confidence: float = 0.95,
) -> Interval:
    """Share of defective parts among the accepted ones, from audits drawn by chance.

    Args:
        defective: bool [n], what people said of each judged audit (leave UNSURE and LOST out).
        inclusion_probability: float [n], in (0, 1]: chance with which each of them was drawn.
        accepted: how many accepted parts the draw stood for; at least n.
        confidence: of the two-sided interval.

    The estimate weighs each audit by 1/probability, normed by the sum of weights (Hájek 1971), so that a
    stratum whose audits were partly lost does not pull the share towards 0. Assumes that a lost audit is
    lost by chance, not because of what it would have shown.

    Interval: Clopper–Pearson when all probabilities are equal. Otherwise the gamma interval for weighted
    sums of Fay and Feuer (Statistics in Medicine 1997; see Fay and Kim 2017), whose upper end allows for one
    more defective part of the largest weight; it treats counts as Poisson, which is too wide rather than too
    narrow. Both are cut to what is certain: the defective and good parts already found among `accepted`.

    Raises:
        ValueError: arrays of unequal length, probabilities outside (0, 1], fewer accepted than judged.
    """
    _require_confidence(confidence)
    judged = len(defective)
    if defective.shape != (judged,) or inclusion_probability.shape != (judged,):
        msg = f"escape share: expected two arrays of one length, got {defective.shape}, {inclusion_probability.shape}"
        raise ValueError(msg)
    if judged and not (np.all(inclusion_probability > 0) and np.all(inclusion_probability <= 1)):
        msg = f"escape share: expected probabilities in (0, 1], got {inclusion_probability.min()} at least"
        raise ValueError(msg)
    if accepted < judged:
        msg = f"escape share: expected at least as many accepted parts as judged ones, got {accepted} < {judged}"
        raise ValueError(msg)
    if judged == 0:
        return _NOT_KNOWN
    found = int(np.count_nonzero(defective))
    if np.ptp(inclusion_probability) < 1e-9:
        interval = binomial_interval(found, judged, confidence)
    else:
        interval = _gamma_interval(defective, 1.0 / inclusion_probability, confidence)
    certain_low, certain_high = found / accepted, 1.0 - (judged - found) / accepted
    low, high = max(interval.low, certain_low), min(interval.high, certain_high)
    estimate = min(max(interval.estimate or 0.0, certain_low), certain_high)
    return Interval(min(low, estimate), estimate, max(high, estimate), interval.method)


def _gamma_interval(defective: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64], confidence: float) -> Interval:
    tail = (1.0 - confidence) / 2.0
    share_weight = weight / weight.sum()
    hit = share_weight[defective]
    estimate, variance, largest = float(hit.sum()), float((hit**2).sum()), float(share_weight.max())
    low = 0.0
    if estimate > 0:
        low = variance / (2 * estimate) * float(stats.chi2.ppf(tail, 2 * estimate**2 / variance))
    above, above_variance = estimate + largest, variance + largest**2
    high = above_variance / (2 * above) * float(stats.chi2.ppf(1 - tail, 2 * above**2 / above_variance))
    return Interval(max(0.0, low), min(1.0, estimate), min(1.0, high), METHOD_WEIGHTED)


def _require_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0 or math.isnan(confidence):
        msg = f"interval: expected a confidence between 0 and 1, got {confidence}"
        raise ValueError(msg)
