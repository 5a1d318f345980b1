# SPDX-License-Identifier: Apache-2.0
"""What can be promised of a limit from counted parts, whatever the distribution of their scores. Pure.

One-sided tolerance bounds by order statistics (S. S. Wilks, "Determination of sample sizes for setting tolerance
limits", Annals of Mathematical Statistics 12, 1941) and the exact binomial bound that is the same statement read the
other way (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934). Both rest on one assumption: the parts counted and the
parts to come are exchangeable. Pictures of one part are not independent, so a part counts once, by its worst picture.
Places no limit. Called by `placing`, `measuring.figures` and `training.finishing`.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import Promise
from models.wording import counted, plural

Floats = NDArray[np.float32]
# Halvings of 0 … 1 until a share is known to the last digit of a double.
_HALVINGS: Final = 60
# Beyond this number of parts nobody is told how many are missing.
_MOST_PARTS: Final = 1_000_000


def binomial_cdf(count: int, trials: int, share: float) -> float:
    """P(X ≤ count) for X ~ Binomial(trials, share), 0 < share < 1."""
    return min(1.0, math.fsum(math.exp(_log_chance(k, trials, share)) for k in range(min(count, trials) + 1)))


def _log_chance(count: int, trials: int, share: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return ways + count * math.log(share) + (trials - count) * math.log1p(-share)


def tolerance_rank(parts: int, share: float, confidence: float) -> int | None:
    """How many of `parts` may lie beyond a limit that promises `share` with `confidence`; None: too few parts.

    Wilks 1941: with the limit at the order statistic that `rank` parts exceed, the share of later parts beyond it is
    Beta(rank + 1, parts - rank), at most `share` with probability 1 - P(Binomial(parts, share) ≤ rank).
    """
    rank: int | None = None
    below = 0.0
    for beyond in range(parts):
        below += math.exp(_log_chance(beyond, parts, share))
        if below > 1 - confidence:
            break
        rank = beyond
    return rank


def upper_bound(beyond: int, parts: int, confidence: float) -> float:
    """The share of later parts beyond a limit is at most this, with `confidence`, when `beyond` of `parts` were.

    Clopper and Pearson 1934, one-sided. It holds for a limit fixed without these parts, and for one placed at the order
    statistic that exactly `beyond` of them exceed. 1 when nothing is known.
    """
    if beyond >= parts:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if binomial_cdf(beyond, parts, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def needed_parts(share: float, confidence: float, beyond: int = 0) -> int | None:
    """The fewest parts that keep the promise when `beyond` of them lie beyond the limit; None: more than a million."""
    if share <= 0:
        return None

    def is_enough(parts: int) -> bool:
        return binomial_cdf(beyond, parts, share) <= 1 - confidence

    high = beyond + 1
    while not is_enough(high):
        high *= 2
        if high > _MOST_PARTS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def by_part(scores: Floats, groups: Sequence[str] | None, *, is_highest: bool) -> Floats:
    """The worst score [parts] of each part's pictures [n]: the highest of a sound one, the lowest of a defective one.

    Without groups each picture is a part of its own.
    """
    if groups is None:
        return scores
    worst: dict[str, float] = {}
    pick = max if is_highest else min
    for group, score in zip(groups, scores.tolist(), strict=True):
        worst[group] = pick(worst.get(group, score), score)
    return np.array(list(worst.values()), np.float32)


def promise_overkill(*, parts: int, pictures: int, beyond: int, asked_rate: float, confidence: float) -> Promise:
    """The promise of an NG limit at the order statistic that `beyond` of the sound parts exceed, or of a higher one."""
    kept = upper_bound(beyond, parts, confidence)
    return _promise(
        f"Of sound parts like these at most {at_most(kept)} are judged NG, with {_percent(confidence)} confidence, "
        f"from {_counted(parts, pictures)}.",
        # With enough parts the limit may stand at the highest of them: that is the promise reached first.
        needed=needed_parts(asked_rate, confidence), further="more {}",
        parts=parts, pictures=pictures, beyond=beyond, asked_rate=asked_rate, kept_rate=kept, confidence=confidence,
    )  # fmt: skip


def promise_escapes(*, parts: int, pictures: int, beyond: int, asked_rate: float, confidence: float) -> Promise:
    """The promise of an OK limit below which `beyond` of the labelled defective parts lie."""
    kept = upper_bound(beyond, parts, confidence)
    return _promise(
        f"Of defective parts of the labelled kinds at most {at_most(kept)} pass as OK, with {_percent(confidence)} "
        f"confidence, from {_counted(parts, pictures)}, {beyond or 'none'} of which counted as passing.",
        needed=needed_parts(asked_rate, confidence, beyond), further="more labelled {}, none of them passing,",
        parts=parts, pictures=pictures, beyond=beyond, asked_rate=asked_rate, kept_rate=kept, confidence=confidence,
    )  # fmt: skip


def _promise(
    statement: str,
    *,
    needed: int | None,
    further: str,
    parts: int,
    pictures: int,
    beyond: int,
    asked_rate: float,
    kept_rate: float,
    confidence: float,
) -> Promise:
    missing: int | None = None
    if kept_rate > asked_rate:
        asked = _percent(asked_rate)
        if needed is None:
            statement += f" No number of parts within reach can promise {asked}."
        elif needed > parts:
            missing = needed - parts
            further = further.format(plural(missing, "part"))
            statement += f" {missing} {further} would promise {asked}."
    return Promise(
        asked_rate=asked_rate, kept_rate=kept_rate, confidence=confidence, parts=parts, pictures=pictures,
        beyond=beyond, missing_parts=missing, statement=statement,
    )  # fmt: skip


def at_most(share: float) -> str:
    """A bound in words, rounded up, so that what is read is never less than what holds."""
    return f"{math.ceil(round(share * 1000, 6)) / 10:.1f} %"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _counted(parts: int, pictures: int) -> str:
    told = counted(parts, "part")
    return told if pictures == parts else f"{told} ({counted(pictures, 'picture')})"
