# SPDX-License-Identifier: Apache-2.0
"""Which accepted parts to audit, and with what chance each of them could have been drawn.

Pure: takes scores and a generator, returns indices and inclusion probabilities. Does not store, ask for pictures
or estimate. Called by `services/audits/auditing.py` for each station and product and period; how much is audited is
decided by `switching.py`.

The design. Four fifths of the budget are a random floor: every part has the same chance, so that a defect kind that
the detector does not see is found as if there were no detector. One fifth goes where escapes are likelier, by the
rank of the score. A part's chance is the sum of both, known before the draw and exact.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

FLOOR_SHARE: Final = 0.8
# Risk falls with the rank of the score, about evenly within the highest 1.5 % and as rank^-1.5 far below. Ranks,
# because a detector's score has no unit. Chosen among 16 pairs on days with normal scores, for the narrowest interval
# over weak and strong detectors and budgets of 200 and 6,000: docs/quality-statistics.md.
_TOP_SHARE: Final = 0.015
_FALL: Final = 1.5
_WHOLE: Final = 1e-9


def audit_budget(accepted: int, share: float, at_most: int) -> int:
    """How many of `accepted` parts to draw: the share rounded up, at least 1, at most `at_most`.

    At least one, because a stratum that is never looked at can hide any number of escapes.
    """
    if accepted <= 0 or at_most <= 0:
        return 0
    return min(accepted, at_most, max(1, math.ceil(accepted * share)))


def allocate_budget(sizes: Sequence[int], budget: int) -> list[int]:
    """Share a budget among strata (station × product × slice of time) in proportion to their sizes.

    One each first, to the largest first where the budget is smaller than the number of strata; the rest by largest
    remainders (Hare–Niemeyer). No stratum gets more than its size.

    Raises:
        ValueError: a negative size or budget.
    """
    if budget < 0 or any(size < 0 for size in sizes):
        msg = f"audit budget: expected sizes and a budget of 0 or more, got {list(sizes)[:8]} and {budget}"
        raise ValueError(msg)
    given = [0] * len(sizes)
    largest_first = sorted((i for i, size in enumerate(sizes) if size), key=lambda i: (-sizes[i], i))
    for index in largest_first[:budget]:
        given[index] = 1
    left = min(budget, sum(sizes)) - sum(given)
    room = [size - has for size, has in zip(sizes, given, strict=True)]
    if left > 0:
        total = sum(room)
        whole = [left * free // total for free in room]
        remainder = sorted(range(len(sizes)), key=lambda i: (-(left * room[i] % total), i))
        for index in remainder[: left - sum(whole)]:
            whole[index] += 1
        given = [has + more for has, more in zip(given, whole, strict=True)]
    return given


def inclusion_probabilities(score: npt.NDArray[np.float64], budget: int) -> npt.NDArray[np.float64]:
    """Chance of each part to be drawn: the floor, and the share that follows the risk.

    Args:
        score: float [n], higher is more likely defective; only the order counts, equal scores have equal chances.
        budget: how many are to be drawn; n or more gives every part the chance 1.

    Returns:
        float [n], in (0, 1], whose sum is the budget (or n). At least `FLOOR_SHARE * budget / n` each. Chances that
        would be above 1 are 1, and the rest of the risk's share goes to the others (Särndal, Swensson and Wretman,
        Model Assisted Survey Sampling, 1992, 3.6.2).

    Raises:
        ValueError: a negative budget, scores that are not a row of finite numbers.
    """
    values = np.asarray(score, dtype=np.float64)
    if budget < 0:
        msg = f"audit draw: expected a budget of 0 or more, got {budget}"
        raise ValueError(msg)
    if values.ndim != 1 or not np.isfinite(values).all():
        msg = f"audit draw: expected one finite score for each part, got shape {values.shape}; leave other parts out"
        raise ValueError(msg)
    stratum = len(values)
    if budget >= stratum:
        return np.ones(stratum)
    floor = FLOOR_SHARE * budget / stratum
    risk = (stats.rankdata(-values) + _TOP_SHARE * stratum) ** -_FALL
    extra = np.zeros(stratum)
    is_free, left = np.ones(stratum, dtype=np.bool_), (1.0 - FLOOR_SHARE) * budget
    while left > 0.0:
        wanted = risk * (left / float(risk[is_free].sum()))
        is_full = is_free & (wanted > 1.0 - floor)
        if not is_full.any():
            extra[is_free] = wanted[is_free]
            break
        extra[is_full] = 1.0 - floor
        left -= (1.0 - floor) * int(is_full.sum())
        is_free &= ~is_full
    return np.minimum(1.0, floor + extra)


def draw_audit(
    score: npt.NDArray[np.float64], budget: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Draw parts for audit: a random floor, a share by risk, spread over the order of the parts.

    Args:
        score: float [n], detector scores in the order in which the parts were made (several stations or products: one
            after the other). Only their order counts.
        budget: how many to draw; more than n draws all, 0 none.
        rng: the generator that decides; the caller keeps it, so that a draw can be repeated.

    Returns:
        index int [k] in rising order, and the inclusion probability float [k] of each of them; k = min(budget, n).

    Raises:
        ValueError: a negative budget, scores that are not a row of finite numbers.
    """
    chance = inclusion_probabilities(score, budget)
    drawn = min(budget, len(chance))
    if drawn == 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float64)
    if drawn == len(chance):
        return np.arange(drawn, dtype=np.intp), chance
    index = spread_draw(chance, rng)
    return index, chance[index]


def draw_expected(
    score: npt.NDArray[np.float64], expected: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], float]:
    """Draw as `draw_audit` does, but an expected number that need not be whole: it is rounded up or down by chance.

    A budget spread over a shift gives a fraction of a part to most draws. To round it always down would leave parts
    that nothing could draw, and always up would spend more than there is. A part's chance is that over both roundings,
    so it is exact and above 0 for every part: pi = (1 - f) pi(k) + f pi(k + 1) for an expected k + f.

    Args:
        score: float [n], as in `draw_audit`.
        expected: mean number to draw, above 0 to draw at all; n or more draws all.
        rng: the generator that decides; not asked about the rounding of a whole number.

    Returns:
        index int [k] in rising order, the inclusion probability float [k] of each of them, and the least one of all n
        (0 where none could be drawn).

    Raises:
        ValueError: a negative or endless number, scores that are not a row of finite numbers.
    """
    if not 0.0 <= expected < math.inf:
        msg = f"audit draw: expected a number of 0 or more to draw, got {expected}"
        raise ValueError(msg)
    # A share of a number of parts comes out a hair beside the whole number that it is.
    whole = math.floor(expected + _WHOLE)
    rest = expected - whole if expected - whole > _WHOLE else 0.0
    lower = inclusion_probabilities(score, whole)
    if rest == 0.0 or whole >= len(lower):
        drawn, used, chance = whole, lower, lower
    else:
        upper = inclusion_probabilities(score, whole + 1)
        drawn, used = (whole + 1, upper) if rng.random() < rest else (whole, lower)
        chance = (1.0 - rest) * lower + rest * upper
    least = float(chance.min(initial=1.0)) if len(chance) else 0.0
    if drawn == 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float64), least
    index = np.arange(len(used), dtype=np.intp) if drawn >= len(used) else spread_draw(used, rng)
    return index, chance[index], least


def draw_share(n: int, share: float, at_most: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], float]:
    """Draw a share of n parts with equal chances, spread over their order.

    The number is rounded up or down by chance, so that each part's chance is the share itself, be there many parts or
    one: draws of few parts can then be put together as one draw of equal chance.

    Args:
        n: number of parts.
        share: chance of each of them, in 0 … 1.
        at_most: how many are drawn at most; where the share would give more, the chance is at_most / n.
        rng: the generator that decides.

    Returns:
        index int [k] in rising order, and the inclusion probability of all n; 0 where none could be drawn.

    Raises:
        ValueError: negative numbers or a share outside 0 … 1.
    """
    if n < 0 or at_most < 0 or not 0.0 <= share <= 1.0:
        msg = f"audit draw: expected numbers of 0 or more and a share in 0 … 1, got {n}, {at_most} and {share}"
        raise ValueError(msg)
    if n == 0 or at_most == 0 or share == 0.0:
        return np.empty(0, dtype=np.intp), 0.0
    chance = min(share, at_most / n)
    # Whole numbers stay whole: a product like .29 * 100 may come out a hair below.
    drawn = min(math.floor(chance * n + 1e-9 + rng.random()), at_most, n)
    if drawn == 0:
        return np.empty(0, dtype=np.intp), chance
    return spread_draw(np.full(n, drawn / n), rng), chance


def spread_draw(chance: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Fixed-size draw with exactly these chances, spread over the order of the parts.

    Deville's systematic sampling (Note sur l'algorithme de Chen, Dempster et Liu, 1998; the same design as ordered
    pivotal sampling, Chauvet, Scandinavian Journal of Statistics 2012): the summed chances are cut into cells of
    length 1, and one part is drawn in each, by a chance of its own. Unlike systematic sampling with one random start
    it cannot fall into step with a cavity or a fixture that returns every so many parts. A part that lies across two
    cells is drawn at most once.

    Args:
        chance: float [n], in (0, 1], its sum a whole number k.
        rng: the generator that decides.

    Returns:
        index int [k], rising.

    Raises:
        ValueError: chances outside (0, 1] or a sum that is not whole.
    """
    total = float(chance.sum())
    drawn = round(total)
    if not (np.all(chance > 0.0) and np.all(chance <= 1.0)) or abs(total - drawn) > 1e-6 * max(1.0, total):
        msg = f"audit draw: expected chances in (0, 1] with a whole sum, got a sum of {total}"
        raise ValueError(msg)
    ends = np.cumsum(chance) * (drawn / total)
    starts = np.concatenate([[0.0], ends[:-1]])
    borders = np.arange(1, drawn)
    across = np.minimum(np.searchsorted(ends, borders, side="right"), len(chance) - 1)
    before = [0.0, *np.maximum(0.0, borders - starts[across]).tolist(), 0.0]
    behind = [0.0, *np.maximum(0.0, ends[across] - borders).tolist()]
    position = np.empty(drawn)
    is_taken = False
    for cell, point in enumerate(rng.random(drawn).tolist()):
        own, rest = behind[cell], before[cell]
        again = 0.0 if is_taken or rest >= 1.0 else min(1.0, own / (1.0 - rest))
        within = point / again * own if point < again else own + (point - again) / (1.0 - again) * (1.0 - own)
        is_taken = before[cell + 1] > 0.0 and within >= 1.0 - before[cell + 1]
        position[cell] = cell + within
    return np.minimum(np.searchsorted(ends, position, side="right"), len(chance) - 1).astype(np.intp)
