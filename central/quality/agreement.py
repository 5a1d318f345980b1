# SPDX-License-Identifier: Apache-2.0
"""What several inspectors say of one part, made into one outcome; how often they differ; which repeats to plant.

Pure. Does not estimate rates (`rates.py` does, from the outcomes made here) and names nobody: who an inspector is, is
the caller's matter. Kappa and the attribute study are in `msa.py`.

Why. Defects are rare, so single wrong answers on good parts outnumber real escapes: with 2 % wrong answers an escape
share of .05 % looks like 2 %. Looking again at the parts said to be defective takes that away and costs little, because
they are few. A wrong answer on a defective part stays: the share is then too low by that rate of itself, not by points.
Rejects are judged good or bad about equally often, so there three people judge each and the majority counts.

Assumed: inspectors err independently of each other, given the part. Blind repeats measure how far one agrees with
himself; a part that everybody misjudges stays wrong.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from central.quality.rates import Interval, binomial_interval

Bools = npt.NDArray[np.bool_]


def confirmed(first: Bools, second: Bools, third: Bools) -> Bools:
    """Outcome where positives are confirmed: a part is defective when two say so.

    Args:
        first: bool [n], the first inspector's answers, True for defective.
        second: bool [n], the second's; looked at only where `first` is True.
        third: bool [n], looked at only where the first said defective and the second good.

    Returns:
        bool [n].

    Raises:
        ValueError: arrays of unequal shape.
    """
    return first & (_alike(first, second) | _alike(first, third))


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
