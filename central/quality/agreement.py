# SPDX-License-Identifier: Apache-2.0
"""What several inspectors say of one part, made into one outcome; how often they differ; which repeats to plant.

Pure. Does not estimate rates (`rates.py` does, from the outcomes made here) and names nobody: who an inspector is, is
the caller's matter. Kappa and the attribute study are in `msa.py`.

Why. Defects are rare, so single wrong answers on good parts outnumber real escapes: with 2 % wrong answers an escape
share of .05 % looks like 2 %. Looking again at the parts said to be defective takes that away and costs little, because
they are few. A wrong answer on a defective part stays: the share is then too low by that rate of itself, not by points.
What confirmation leaves (.04 % of the good parts, at 2 %) still counts where thousands of audits make the interval
narrow; `allow_for_errors` takes it into the interval.
Rejects are judged good or bad about equally often, so there three people judge each and the majority counts.

Assumed: inspectors err independently of each other, given the part. Blind repeats measure how far one agrees with
himself; a part that everybody misjudges stays wrong.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from central.quality.rates import Interval, binomial_interval

Bools = npt.NDArray[np.bool_]
METHOD_ERROR: Final = "errors by blind repeats, Rogan-Gladen"
_HALF: Final = 0.5


def confirmed(first: Bools, second: Bools) -> Bools:
    """Outcome where positives are confirmed: a part is defective when the first says so and the second agrees.

    No third where they differ: that would halve the defects overlooked, which are few in a hundred of a small share,
    and double the good parts called defective, which may be more than all escapes there are.

    Args:
        first: bool [n], the first inspector's answers, True for defective.
        second: bool [n], the second's; looked at only where `first` is True.

    Returns:
        bool [n].

    Raises:
        ValueError: arrays of unequal shape.
    """
    return first & _alike(first, second)


def by_majority(answers: Bools) -> Bools:
    """Outcome of an odd number of inspectors (three, usually) who all judged every part.

    Args:
        answers: bool [inspectors, n].

    Returns:
        bool [n], what more than half of them said.

    Raises:
        ValueError: not an odd number of rows.
    """
    if answers.ndim != 2 or answers.shape[0] % 2 == 0:
        msg = f"majority: expected an odd number of inspectors × parts, got shape {answers.shape}; ask one more"
        raise ValueError(msg)
    majority: Bools = answers.sum(axis=0) * 2 > answers.shape[0]
    return majority


@dataclass(frozen=True)
class Disagreement:
    """How often two answers on the same part differ: `count` of `of`, and the interval of the share."""

    count: int
    of: int
    interval: Interval


def disagreement(first: Bools, second: Bools, confidence: float = 0.95) -> Disagreement:
    """Share of the parts on which two answers differ: of two inspectors, or of one on a blind repeat.

    Args:
        first: bool [n].
        second: bool [n], of the same parts in the same order.
        confidence: of the exact interval.

    Raises:
        ValueError: arrays of unequal shape.
    """
    count = int(np.count_nonzero(first ^ _alike(first, second)))
    return Disagreement(count, len(first), binomial_interval(count, len(first), confidence))


def error_rate(repeats: Interval) -> Interval:
    """How often a single answer is wrong, from how often an inspector contradicts himself on blind repeats.

    Two answers differ when exactly one of them is wrong: d = 2e(1 - e). Assumes that errors are as likely on good as on
    defective parts and independent between the two answers; of parts that are always misjudged, repeats tell nothing.
    At 50 % of contradictions, and above, answers say nothing: the error rate is then one half.
    """

    def one(share: float) -> float:
        return (1.0 - math.sqrt(max(0.0, 1.0 - 2.0 * share))) / 2.0

    estimate = None if repeats.estimate is None else one(repeats.estimate)
    return Interval(one(repeats.low), estimate, one(repeats.high), METHOD_ERROR)


def allow_for_errors(observed: Interval, error: Interval) -> Interval:
    """The share of defective parts behind an observed one, where positives were confirmed by a second inspector.

    Args:
        observed: interval of the share of parts called defective by both (`rates.escape_interval`).
        error: chance that one answer is wrong (`error_rate`).

    Rogan and Gladen (American Journal of Epidemiology 1978): observed = share * (1 - e)^2 + (1 - share) * e^2, solved
    at each end with the error rate that gives the outermost share. Both intervals hold together at least as often as
    1 - the sum of what each may miss, so the result promises less than either; it is wider rather than shorter.

    Raises:
        ValueError: an error rate of which nothing is known: plant repeats first.
    """
    if error.estimate is None:
        msg = "errors: expected a known error rate, got none; plant blind repeats first"
        raise ValueError(msg)

    def behind(share: float, rate: float) -> float:
        called_good, called_bad = (1.0 - rate) ** 2, rate**2
        if called_good - called_bad <= 0.0:
            return share
        return min(1.0, max(0.0, (share - called_bad) / (called_good - called_bad)))

    rates = (error.low, error.estimate, error.high)
    low = min(behind(observed.low, rate) for rate in rates) if error.high < _HALF else 0.0
    high = max(behind(observed.high, rate) for rate in rates) if error.high < _HALF else 1.0
    estimate = None if observed.estimate is None else behind(observed.estimate, error.estimate)
    if estimate is not None:
        low, high = min(low, estimate), max(high, estimate)
    return Interval(low, estimate, high, f"{observed.method}; {METHOD_ERROR}")


def plant_repeats(waiting: int, judged: int, share: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Which judged parts to show again, and where in the queue, so that nobody can tell a repeat.

    Args:
        waiting: length of the queue of new audits.
        judged: how many judged parts there are to choose from, by index.
        share: of the new audits; the number is rounded by chance, so that short queues get their share too.
        rng: the generator that decides.

    Returns:
        (position in the queue, index of the judged part), by position; a position p puts the repeat before the p-th
        new audit, `waiting` at the end. No part twice.

    Raises:
        ValueError: negative numbers or a share outside 0 … 1.
    """
    if waiting < 0 or judged < 0 or not 0.0 <= share <= 1.0:
        msg = f"repeats: expected numbers of 0 or more and a share in 0 … 1, got {waiting}, {judged}, {share}"
        raise ValueError(msg)
    number = min(judged, int(waiting * share + rng.random()))
    parts = rng.choice(judged, size=number, replace=False) if number else np.empty(0, dtype=np.int64)
    positions = np.sort(rng.integers(0, waiting + 1, size=number))
    return [(int(position), int(part)) for position, part in zip(positions, parts, strict=True)]


def _alike(first: Bools, other: Bools) -> Bools:
    if first.ndim != 1 or other.shape != first.shape:
        msg = f"agreement: expected answers on the same parts, got shapes {first.shape} and {other.shape}"
        raise ValueError(msg)
    return other
