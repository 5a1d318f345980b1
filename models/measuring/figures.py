# SPDX-License-Identifier: Apache-2.0
"""Figures on arrays: ranks, recall and overkill at a limit, exact intervals, resampling by part. Pure, numpy only.

Positive means defect, everywhere in this file. A figure that needs a class which is not there is None, never 0.
Knows no package and no picture. Called by `evaluating`, `comparing`, `judging`,
`reporting` and `training`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.limits.promises import binomial_cdf

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
CONFIDENCE: Final = 0.95
# Shares such as 0.07 × 100 come out a hair above or below the whole number that is meant.
_HAIR: Final = 1e-9
_HALVINGS: Final = 60
_LOSS_RESAMPLES: Final = 200
# Share of the draws in which AUROC must fall before it counts as lost.
_LOSS_SURE: Final = 0.9


def image_auroc(scores: Floats, is_defective: Bools) -> float | None:
    """P(a defective part scores above a sound one), ties half; None where one class is missing."""
    sound, caught = np.sort(scores[~is_defective]), scores[is_defective]
    if len(sound) == 0 or len(caught) == 0:
        return None
    ranks = np.searchsorted(sound, caught, side="left") + np.searchsorted(sound, caught, side="right")
    return float(ranks.mean() / (2 * len(sound)))


def average_precision(scores: Floats, is_defective: Bools) -> float | None:
    """Area under precision over recall, by steps; equal scores enter together."""
    if not is_defective.any() or is_defective.all():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_defective[order])
    last_of_tie = np.r_[np.diff(scores[order]) != 0, True]
    hits, seen = hits[last_of_tie], (np.flatnonzero(last_of_tie) + 1)
    gained = np.diff(np.r_[0, hits])
    return float((gained * hits / seen).sum() / is_defective.sum())


def recall_at_overkill(scores: Floats, is_defective: Bools, overkill: float) -> float | None:
    """Recall at the lowest limit that judges at most this share of the sound parts NG."""
    sound, caught = np.sort(scores[~is_defective]), scores[is_defective]
    if len(sound) == 0 or len(caught) == 0:
        return None
    limit = sound[len(sound) - 1 - int(overkill * len(sound) + _HAIR)]
    return float((caught > limit).mean())


def overkill_at_recall(scores: Floats, is_defective: Bools, recall: float) -> float | None:
    """Share of the sound parts NG at the highest limit that judges at least this share of the defective ones NG.

    A part is NG from the limit on, as at a station; so a sound part that ties with the last defect counts.
    """
    sound, caught = scores[~is_defective], np.sort(scores[is_defective])
    if len(sound) == 0 or len(caught) == 0:
        return None
    needed = max(1, math.ceil(recall * len(caught) - _HAIR))
    return float((sound >= caught[len(caught) - needed]).mean())


def exact_interval(count: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson, Biometrika 1934); (0, 1) when nothing was counted.

    Covers the true share with at least `confidence` when the counted things are independent and alike.

    Raises:
        ValueError: counts that cannot be; the caller has a fault.
    """
    if not 0 <= count <= of:
        msg = f"interval: expected 0 <= count <= of, got count={count}, of={of}"
        raise ValueError(msg)
    if of == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    # What holds for `count` from above holds for the rest from below.
    return 1 - _upper_end(of - count, of, tail), _upper_end(count, of, tail)


def _upper_end(count: int, of: int, tail: float) -> float:
    """The share at which `count` or fewer would be seen with probability `tail`; found by halving."""
    if count == of:
        return 1.0
    low, high = count / of, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not 0 < middle < 1:
            break
        if binomial_cdf(count, of, middle) > tail:
            low = middle
        else:
            high = middle
    return high


def rate_of(count: int, of: int) -> dict[str, Any]:
    """`count`, `of`, `rate` and its exact 95 % interval `low` … `high`. `rate` None: nothing to say, never 0."""
    low, high = exact_interval(count, of)
    return {"count": count, "of": of, "rate": count / of if of else None, "low": low, "high": high}


def sign_test(better: int, worse: int) -> float | None:
    """Two-sided exact p of the sign test: would a fair coin fall as unevenly? None: nothing changed either way.

    On single pictures this is McNemar's exact test. Changes must be independent, so count parts, not their pictures.
    """
    if better < 0 or worse < 0:
        msg = f"sign test: expected counts of 0 or more, got {better} and {worse}"
        raise ValueError(msg)
    if better + worse == 0:
        return None
    return min(1.0, 2 * binomial_cdf(min(better, worse), better + worse, 0.5))


class WeightedAuroc:
    """AUROC of fixed scores under changing weights of the pictures: sorts once, then O(n) for each set of weights.

    Args:
        scores: float [n], finite.
        is_defective: bool [n], both classes present.
    """

    def __init__(self, scores: Floats, is_defective: Bools) -> None:
        sound, defective = np.flatnonzero(~is_defective), np.flatnonzero(is_defective)
        if len(sound) == 0 or len(defective) == 0:
            msg = f"AUROC: expected sound and defective scores, got {len(sound)} and {len(defective)}"
            raise ValueError(msg)
        self._sound = sound[np.argsort(scores[sound], kind="stable")]
        self._defective = defective
        self._below = np.searchsorted(scores[self._sound], scores[defective], side="left")
        self._up_to = np.searchsorted(scores[self._sound], scores[defective], side="right")

    def __call__(self, weights: Doubles) -> float:
        """AUROC with each picture counted `weights` [n] times; NaN when a class has no weight."""
        heavy = np.r_[0.0, np.cumsum(weights[self._sound])]
        mine = weights[self._defective]
        pairs = heavy[-1] * mine.sum()
        if pairs == 0:
            return math.nan
        return float((mine * (heavy[self._below] + heavy[self._up_to])).sum() / (2 * pairs))


def resampled_aurocs(
    scores: Sequence[Floats], is_defective: Bools, groups: Sequence[str], *, resamples: int, rng: np.random.Generator
) -> Doubles:
    """AUROC of several score sets of the same pictures under the same bootstrap draws, float64 [used, sets].

    Draws in which a class is missing are dropped: `used` ≤ `resamples`. How is drawn stands at `_draws`.

    Args:
        scores: each float [n], finite, all of the same pictures.
        is_defective: bool [n], both classes present.
        groups: name of the physical part of each picture, [n].
        resamples: number of draws.
        rng: decides the draws.
    """
    figures = [WeightedAuroc(each, is_defective) for each in scores]
    rows = [[figure(weights) for figure in figures] for weights in _draws(is_defective, groups, resamples, rng)]
    drawn = np.array(rows, np.float64).reshape(-1, len(figures))
    return np.asarray(drawn[np.isfinite(drawn).all(1)])


def is_auroc_lost(before: Floats, after: Floats, is_defective: Bools, groups: Sequence[str], *, allowed: float) -> bool:
    """Whether AUROC fell by more than `allowed`, and not just by the luck of these parts.

    Paired bootstrap over parts: on few of them one swapped pair is worth more than any allowance, and the pictures of
    one part swap together. Scores [n] finite, `groups` as of `resampled_aurocs`.
    """
    first, second = image_auroc(before, is_defective), image_auroc(after, is_defective)
    if first is None or second is None or first - second <= allowed:
        return False
    rng = np.random.default_rng(0)
    drawn = resampled_aurocs([before, after], is_defective, groups, resamples=_LOSS_RESAMPLES, rng=rng)
    return len(drawn) == 0 or float((drawn[:, 0] > drawn[:, 1]).mean()) >= _LOSS_SURE


Figure = Callable[[Floats, Bools], float | None]


def resampled_figures(
    figures: Sequence[Figure],
    scores: Floats,
    is_defective: Bools,
    groups: Sequence[str],
    *,
    resamples: int,
    rng: np.random.Generator,
) -> Doubles:
    """Several figures of one score set under the same bootstrap draws, float64 [used, figures]; see above."""
    rows = []
    for weights in _draws(is_defective, groups, resamples, rng):
        drawn = np.repeat(np.arange(len(scores)), weights.astype(np.int64))
        told = [figure(scores[drawn], is_defective[drawn]) for figure in figures]
        rows.append([math.nan if value is None else value for value in told])
    values = np.array(rows, np.float64).reshape(-1, len(figures))
    return np.asarray(values[np.isfinite(values).all(1)])


def _draws(is_defective: Bools, groups: Sequence[str], resamples: int, rng: np.random.Generator) -> Iterator[Doubles]:
    """How often each picture is drawn, [n], again and again.

    Whole groups (physical parts) are drawn with replacement, because the pictures of one part fail together; those
    with a defective picture and those without are drawn apart, so that no draw lacks defects. Cluster bootstrap, see
    Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
    """
    names, member = np.unique(np.array(groups), return_inverse=True)
    has_defect = np.zeros(len(names), np.bool_)
    has_defect[member[is_defective]] = True
    strata = [np.flatnonzero(has_defect), np.flatnonzero(~has_defect)]
    times = np.zeros(len(names), np.float64)
    for _ in range(resamples):
        for stratum in strata:
            if len(stratum):
                times[stratum] = rng.multinomial(len(stratum), np.full(len(stratum), 1 / len(stratum)))
        yield times[member]


def percentile_interval(values: Doubles, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The middle `confidence` of bootstrap values; None without any.

    Rather too narrow with few parts: seen to cover 92 % instead of 95 % with 40 sound and 40 defective parts.
    """
    if len(values) == 0:
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
