# SPDX-License-Identifier: Apache-2.0
"""Charts of counts: p and np (parts that do not conform), u (nonconformities a part). Raises no alarm.

Phase I learns the centre line from a reference period, phase II watches with a centre line that no longer moves. Limits
are exact tails of the binomial or Poisson distribution, or the ±3 standard deviations of the textbooks, by choice.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Kind = Literal["p", "np", "u"]
Limits = Literal["exact", "3 sigma"]
# What a normal distribution leaves beyond 3 standard deviations, both sides together.
_BEYOND_3_SIGMA: Final = 0.0027
_FARTHEST: Final = 8.0
_TAILS: Final = (_BEYOND_3_SIGMA / 2, 1 - _BEYOND_3_SIGMA / 2)


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
class AttributeChart:
    """A chart of counts. Arrays of one length, one entry for each sample.

    centre: of `value` (for np it moves with the sample size, as the limits do). deviation: standard deviation of each
    sample's value while in control. A value strictly outside its limits signals. reference: samples of phase I.
    """

    kind: Kind
    value: Floats
    centre: Floats
    deviation: Floats
    low: Floats
    high: Floats
    reference: int

    @property
    def standardized(self) -> Floats:
        """Values in standard deviations from the centre line, for run rules over samples of unequal size."""
        return (self.value - self.centre) / self.deviation

    @property
    def signal_at(self) -> tuple[int, ...]:
        """Samples outside their limits, those of phase I included."""
        return tuple(int(index) for index in np.flatnonzero((self.value < self.low) | (self.value > self.high)))


def attribute_chart(
    kind: Kind,
    count: Counts,
    of: Counts,
    reference: int,
    *,
    limits: Limits = "exact",
    excluded: Collection[int] = (),
) -> AttributeChart:
    """A p, np or u chart (Shewhart; ISO 7870-2 treats all three, formulas as in any textbook of the field).

    Args:
        kind: p: share of each sample; np: its count; u: nonconformities for each part, of which one may have several.
        count: int [n], nonconforming parts, or nonconformities for u.
        of: int [n], parts of each sample.
        reference: the first so many samples are phase I.
        limits: exact: at most 0.135 % beyond each end while in control; 3 sigma: those of the textbooks, which at small
            counts have no lower end and alarm too often at the upper one.
        excluded: samples of phase I with a cause that was found and mended; they do not count for the centre line.

    Assumes independent parts with one common share (p, np), or a Poisson number (u), and the centre line as known: the
    reference must be much longer than a sample. Shares that truly vary between samples make limits too narrow.

    Raises:
        ValueError: arrays of unequal length, a sample without parts, more nonconforming parts than parts, or nothing
            left to learn from.
    """
    if count.ndim != 1 or count.shape != of.shape or (len(of) and of.min() <= 0) or (count < 0).any():
        msg = f"{kind} chart: expected two arrays of one length, counts >= 0 of at least one part, got {count}, {of}"
        raise ValueError(msg)
    if kind != "u" and (count > of).any():
        msg = f"{kind} chart: expected no more nonconforming parts than parts; take a u chart for nonconformities"
        raise ValueError(msg)
    learnt = [index for index in range(min(reference, len(of))) if index not in set(excluded)]
    if not learnt:
        msg = f"{kind} chart: expected samples to learn the centre line from, got none of {len(of)}"
        raise ValueError(msg)
    total, parts = int(count[learnt].sum()), int(of[learnt].sum())
    # Half a part is added where nothing was found (or all), so that the first one is not forbidden for ever.
    size = of.astype(np.float64)
    rate = total / parts if 0 < total < parts or (kind == "u" and total) else (total + 0.5) / (parts + 1.0)
    deviation, low, high = _u_lines(size, rate, limits) if kind == "u" else _p_lines(size, rate, limits)
    scale = size if kind == "np" else np.ones_like(size)
    centre = np.full(len(of), rate)
    return AttributeChart(
        kind, count / size * scale, centre * scale, deviation * scale, low * scale, high * scale, reference
    )


def normal_scores(count: Counts, of: Counts, share: float) -> Floats:
    """How far each sample lies from a share, as the standard normal value of the same chance.

    For charts that add up what samples say and assume normal values: counts of rare parts are far from that. The chance
    is taken in the middle of the count's own (mid-p), as in the Q charts for binomial counts of Quesenberry (Journal of
    Quality Technology 1991), there without the middle.

    Args:
        count: int [n], nonconforming parts.
        of: int [n], parts of each sample, at least 1.
        share: while in control, in 0 … 1, taken as known.

    Returns:
        float [n], within ±8. Exactly 0 and 1 in mean and deviation only for large counts; at one expected part a sample
        the deviation is about .9.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """
    if not 0.0 < share < 1.0:
        msg = f"normal scores: expected a share between 0 and 1, got {share}"
        raise ValueError(msg)
    below, here = stats.binom.cdf(count - 1, of, share), stats.binom.pmf(count, of, share)
    above = stats.binom.sf(count, of, share)
    # From the nearer end, where a chance near 1 would lose its digits.
    lower, upper = stats.norm.ppf(below + here / 2), stats.norm.isf(above + here / 2)
    scores: Floats = np.clip(np.where(below < above, lower, upper), -_FARTHEST, _FARTHEST)
    return scores


def _p_lines(size: Floats, share: float, limits: Limits) -> tuple[Floats, Floats, Floats]:
    """Deviation, lower and upper limit of each sample's share."""
    deviation = np.sqrt(share * (1 - share) / size)
    if limits == "3 sigma":
        return deviation, np.maximum(share - 3 * deviation, 0.0), np.minimum(share + 3 * deviation, 1.0)
    low, high = (stats.binom.ppf(tail, size, share) / size for tail in _TAILS)
    return deviation, low, high


def _u_lines(size: Floats, rate: float, limits: Limits) -> tuple[Floats, Floats, Floats]:
    """Deviation, lower and upper limit of each sample's nonconformities a part."""
    deviation = np.sqrt(rate / size)
    if limits == "3 sigma":
        return deviation, np.maximum(rate - 3 * deviation, 0.0), rate + 3 * deviation
    low, high = (stats.poisson.ppf(tail, rate * size) / size for tail in _TAILS)
    return deviation, low, high
