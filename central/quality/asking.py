# SPDX-License-Identifier: Apache-2.0
"""Which unjudged parts a person should be asked about next, so that a training learns most from the answer.

Pure: what is known of the parts comes in, indices and reasons come out. Does not draw audits (`sampling.py`): these
parts are chosen, not drawn, so no chance can be given for them and no rate may rest on them. Called by
`services/audits/asked.py` and `benchmarks/active_learning.py`.

Three reasons to ask, each a number from 0 to 1 in which higher asks sooner. Each reason gets its share of the budget;
from the parts for which it speaks loudest, those are taken that lie farthest from one another and from what was judged
(greedy k-centre: Gonzalez, Theoretical Computer Science 38, 1985; as a way to choose what to label: Sener and Savarese,
ICLR 2018), so that a batch is not twenty pictures of one part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of the parts that a reason speaks for, so many times its share are looked at for how different they are. Of 2 and 4
# chosen on magnetic tiles, seeds 0 - 3 of the benchmark's pool as it is.
_SHORTLIST: Final = 2
_LEAST_SPREAD: Final = 1e-9


class AskReason(StrEnum):
    """Why a part is asked about."""

    # Its score lies near the limit.
    UNCERTAIN = "UNCERTAIN"
    # It looks unlike what was judged.
    NOVEL = "NOVEL"
    # Champion and challenger rank it differently.
    DISAGREEMENT = "DISAGREEMENT"


@dataclass(frozen=True)
class Asked:
    """One part to ask about: its row, why, and how loudly that reason speaks (0 to 1)."""

    index: int
    reason: AskReason
    strength: float


def calibrated(score: Floats, reference: Floats) -> Floats:
    """Scores as shares of reference parts below them (ties count half): comparable between packages.

    Args:
        score: float [n].
        reference: float [m] of the same package, at least one.

    Returns:
        float [n] in 0 … 1.
    """
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, score, side="left")
    through = np.searchsorted(ordered, score, side="right")
    shares: Floats = (below + through) / (2.0 * len(ordered))
    return shares


def uncertainty(score: Floats, ok_limit: Floats, ng_limit: Floats) -> Floats:
    """1 between the limits, less with the share of parts that lie between a part and the nearer limit.

    A share of parts and not a difference of scores: scores have no unit, and one package spreads them where another
    presses them together.

    Args:
        score: float [n], finite, of one package.
        ok_limit: float [n], at which OK ends.
        ng_limit: float [n], from which NG begins, not below `ok_limit`.

    Returns:
        float [n] in 0 … 1.
    """
    if not len(score):
        return np.empty(0)
    place, low, high = calibrated(score, score), calibrated(ok_limit, score), calibrated(ng_limit, score)
    away = np.maximum(low - place, place - high)
    between = (score >= ok_limit) & (score <= ng_limit)
    near: Floats = np.where(between, 1.0, 1.0 - np.clip(away, 0.0, 1.0))
    return near


def disagreement(score: Floats, other: Floats) -> Floats:
    """By how many places, as a share, two packages rank a part differently.

    Args:
        score: float [n], of the one.
        other: float [n], of the other; not a number where it did not judge the part.

    Returns:
        float [n] in 0 … 1, 0 where only one judged.
    """
    found = np.zeros(len(score))
    both = np.isfinite(other) & np.isfinite(score)
    if both.any():
        mine, its = score[both], other[both]
        found[both] = np.abs(calibrated(mine, mine) - calibrated(its, its))
    return found


def standardised(features: Floats, seen: Floats) -> tuple[Floats, Floats]:
    """Features in units of how the unjudged parts vary: less the median, by the quartiles' distance; NaN becomes 0.

    Args:
        features: float [n, k].
        seen: float [m, k].
    """
    if not len(features):
        return features, seen
    known = np.where(np.isfinite(features), features, np.nan)
    is_known = np.isfinite(known).any(0)
    middle, spread = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    if is_known.any():
        low, half, high = np.nanpercentile(known[:, is_known], (25, 50, 75), axis=0)
        middle[is_known], spread[is_known] = half, high - low
    usable = spread > _LEAST_SPREAD
    scale = np.where(usable, spread, 1.0)

    def scaled(values: Floats) -> Floats:
        made: Floats = np.where(usable & np.isfinite(values), (values - middle) / scale, 0.0)
        return made

    return scaled(features), scaled(seen)


def novelty(features: Floats, seen: Floats) -> Floats:
    """How far each part looks from the nearest that was judged (from the middle of all, where none was), as a rank.

    Args:
        features: float [n, k], `standardised`.
        seen: float [m, k], of parts that were judged, in the same units; m may be 0.

    Returns:
        float [n] in 0 … 1: the share of parts that are less far.
    """
    if not len(features):
        return np.empty(0)
    far = _to_nearest(features, seen if len(seen) else np.zeros((1, features.shape[1])))
    return calibrated(far, far)


def choose(
    strengths: Mapping[AskReason, Floats],
    features: Floats,
    seen: Floats,
    groups: Sequence[str],
    budget: int,
    *,
    shares: Mapping[AskReason, float],
) -> list[Asked]:
    """Choose parts to ask about, each of another group.

    Args:
        strengths: float [n] in 0 … 1 for each reason; 0 everywhere: it has nothing to say and its share goes to others.
        features: float [n, k], `standardised`: what tells parts apart.
        seen: float [m, k], of parts that were judged or asked about.
        groups: of each part, the physical part; one picture of each is asked about at most.
        budget: how many at most.
        shares: of the budget for each reason; only their proportions count.

    Returns:
        At most `budget`, in the order in which they were chosen.

    Raises:
        ValueError: lengths that do not fit, or a negative budget or share.
    """
    count = len(groups)
    if budget < 0 or any(share < 0 for share in shares.values()):
        msg = f"asking: expected a budget and shares of 0 or more, got {budget} and {shares}"
        raise ValueError(msg)
    lengths = {len(features), *(len(values) for values in strengths.values())}
    if lengths != {count}:
        msg = f"asking: expected {count} of everything, as there are groups, got {sorted(lengths)}"
        raise ValueError(msg)
    speaking = [reason for reason, values in strengths.items() if shares.get(reason, 0.0) > 0 and (values > 0).any()]
    chosen: list[Asked] = []
    nearest = _to_nearest(features, seen)
    is_free = np.ones(count, dtype=np.bool_)
    named = np.asarray(groups)
    for reason, quota in zip(speaking, _quotas([shares[each] for each in speaking], budget), strict=True):
        values = strengths[reason]
        # Ties in the order given; a reason that is silent on a part does not ask about it.
        loudest = [int(row) for row in np.argsort(-values, kind="stable") if is_free[row] and values[row] > 0]
        several = _one_of_each(loudest, named)[: _SHORTLIST * quota]
        # How different a part is weighs little against a reason that speaks half as loudly.
        least = values[several[min(quota, len(several)) - 1]] / 2 if several and quota else 0.0
        listed = np.array([row for row in several if values[row] >= least], dtype=np.intp)
        for _ in range(quota):
            open_rows = listed[is_free[listed]]
            if not len(open_rows):
                break
            # Before anything was judged nothing is far: then the loudest begins.
            row = int(open_rows[0] if np.isinf(nearest).all() else open_rows[np.argmax(nearest[open_rows])])
            chosen.append(Asked(row, reason, float(values[row])))
            is_free &= named != named[row]
            nearest = np.minimum(nearest, np.linalg.norm(features - features[row], axis=1))
    return chosen


def _quotas(shares: Sequence[float], budget: int) -> list[int]:
    """Whole numbers in these proportions that make up the budget (largest remainders)."""
    total = sum(shares)
    if not total:
        return [0] * len(shares)
    exact = [budget * share / total for share in shares]
    whole = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda place: (whole[place] - exact[place], place))
    for place in order[: budget - sum(whole)]:
        whole[place] += 1
    return whole


def _one_of_each(rows: Sequence[int], named: NDArray[np.str_]) -> list[int]:
    taken: set[str] = set()
    kept = []
    for row in rows:
        if named[row] not in taken:
            taken.add(named[row])
            kept.append(row)
    return kept


def _to_nearest(features: Floats, centres: Floats) -> Floats:
    """Distance of each row to the nearest centre; endless where there is none."""
    if not len(centres):
        return np.full(len(features), np.inf)
    squared = (features**2).sum(1)[:, None] + (centres**2).sum(1) - 2.0 * features @ centres.T
    # Rounding may leave a hair below zero.
    nearest: Floats = np.sqrt(np.maximum(squared.min(1), 0.0))
    return nearest
