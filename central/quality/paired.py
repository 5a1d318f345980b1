# SPDX-License-Identifier: Apache-2.0
"""How much worse one of two packages may be on parts that both judged: bounds on a difference of paired shares.

Pure; counts and arrays in, numbers out. Knows neither packages nor margins of anybody. Called by `domain/gating.py`.

Of n parts the challenger alone erred in b ("newly"), the champion alone in c ("mended"). The difference of their shares
of errors is estimated by (b - c) / n. Parts are taken to be independent; a part with several pictures is one part.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from central.quality.rates import escape_interval

METHOD_PAIRED: Final = "Tango score bounds; exact unconditional test (Hsueh, Liu and Chen)"
METHOD_WEIGHTED: Final = "weighted shares of newly and mended parts, half the error to each (Bonferroni)"
# The exact test goes through all tables of so many parts; beyond it the score test, which is exact enough there.
MOST_EXACT_PARTS: Final = 300

_STEPS: Final = 60
_NUISANCES: Final = 60
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedBounds:
    """Challenger less champion, in shares of the parts. `low` and `high` are one-sided, each at the confidence.

    `estimate` None: no parts. `p_value`: of "worse by the margin or more"; None where no such test is made.
    """

    low: float
    estimate: float | None
    high: float
    p_value: float | None
    method: str


def paired_bounds(newly: int, mended: int, parts: int, *, margin: float, confidence: float) -> PairedBounds:
    """Bounds of the difference, and the chance of such counts were it `margin`.

    The bounds are those of the score test (Tango, Statistics in Medicine 17, 1998, 891-908). The p-value is that of the
    unconditional test by the same statistic, made exact by taking the worst over the unknown share of discordant parts
    (Hsueh, Liu and Chen, Biometrics 57, 2001, 478-483): at most 1 - confidence of packages that are worse by the margin
    pass it. From `MOST_EXACT_PARTS` parts on the p-value is that of the score test itself.

    Args:
        newly: parts in which the challenger alone erred.
        mended: parts in which the champion alone erred.
        parts: all, both right and both wrong ones too.
        margin: in (0, 1), share of the parts.
        confidence: of each one-sided bound, in (0.5, 1).

    Raises:
        ValueError: counts that cannot be, a margin or confidence out of its range; the caller has a fault.
    """
    _check(margin, confidence)
    if min(newly, mended) < 0 or newly + mended > parts:
        msg = f"paired bounds: expected newly + mended <= parts, got {newly} + {mended} of {parts}"
        raise ValueError(msg)
    if parts == 0:
        return PairedBounds(-1.0, None, 1.0, None, METHOD_PAIRED)
    return PairedBounds(
        low=-tango_upper(mended, newly, parts, confidence),
        estimate=(newly - mended) / parts,
        high=tango_upper(newly, mended, parts, confidence),
        p_value=p_value(newly, mended, parts, margin),
        method=METHOD_PAIRED,
    )


def weighted_bounds(
    newly: npt.NDArray[np.bool_], mended: npt.NDArray[np.bool_], inclusion_probability: Floats, *, confidence: float
) -> PairedBounds:
    """The same of parts that chance drew with unequal probabilities, for the parts that they stand for.

    The share of newly wrong parts at most, less that of mended ones at least, each by `rates.escape_interval` with half
    the error: wide, but right whatever the two have to do with each other and with the probabilities. A sum of both
    errors is never more than 1 - confidence where each of the two holds (Bonferroni).

    Args:
        newly: bool [n], the challenger alone erred.
        mended: bool [n], the champion alone erred.
        inclusion_probability: float [n], in (0, 1].
        confidence: of each one-sided bound, in (0.5, 1).

    Raises:
        ValueError: as `rates.escape_interval`.
    """
    _check(0.5, confidence)
    chance = np.asarray(inclusion_probability, np.float64)
    if len(chance) == 0:
        return PairedBounds(-1.0, None, 1.0, None, METHOD_WEIGHTED)
    stood_for = max(len(chance), round(float((1.0 / chance).sum())))
    worse = escape_interval(newly, chance, stood_for, confidence)
    better = escape_interval(mended, chance, stood_for, confidence)
    weight = 1.0 / chance
    estimate = float((weight * (newly.astype(np.float64) - mended)).sum() / weight.sum())
    return PairedBounds(worse.low - better.high, estimate, worse.high - better.low, None, METHOD_WEIGHTED)


def tango_upper(newly: int, mended: int, parts: int, confidence: float) -> float:
    """The largest difference that the score test does not reject, one-sided, in -1 … 1."""
    z = float(stats.norm.ppf(confidence))
    low, high = (newly - mended) / parts, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if float(_score(np.float64(newly), np.float64(mended), parts, middle)) >= -z:
            low = middle
        else:
            high = middle
    return high


def p_value(newly: int, mended: int, parts: int, margin: float) -> float:
    """Of "worse by `margin` or more"; see `paired_bounds`."""
    if parts > MOST_EXACT_PARTS:
        return float(special.ndtr(_score(np.float64(newly), np.float64(mended), parts, margin)))
    return float(_p_values(parts, margin)[newly, mended])


@lru_cache(maxsize=32)
def _p_values(parts: int, margin: float) -> Floats:
    """Of every table of so many parts, [newly, mended]; 1 where there is no such table."""
    newly, mended = (each.ravel() for each in np.mgrid[0 : parts + 1, 0 : parts + 1])
    is_table = newly + mended <= parts
    newly, mended = newly[is_table], mended[is_table]
    score = _score(newly.astype(np.float64), mended.astype(np.float64), parts, margin)
    order = np.argsort(score, kind="stable")
    # Tables of one score are rejected together or not at all.
    _, last = np.unique(-np.round(score[order], 9)[::-1], return_index=True)
    ends = (len(order) - 1 - last)[::-1]
    level = np.searchsorted(ends, np.arange(len(order)))
    same = parts - newly - mended
    ways = special.gammaln(parts + 1) - sum(special.gammaln(each + 1.0) for each in (newly, mended, same))
    worst = np.zeros(len(order))
    for nuisance in _nuisances(margin):
        chance = np.exp(
            ways
            + special.xlogy(newly, nuisance + margin)
            + special.xlogy(mended, nuisance)
            + special.xlogy(same, max(0.0, 1 - 2 * nuisance - margin))
        )
        np.maximum(worst, np.cumsum(chance[order])[ends][level], out=worst)
    told = np.ones((parts + 1, parts + 1))
    told[newly[order], mended[order]] = np.minimum(worst, 1.0)
    return told


def _nuisances(margin: float) -> Floats:
    """Shares of mended parts to look at; near 0, where tables are few, more closely."""
    most = (1.0 - margin) / 2.0
    near = np.geomspace(1e-4, 1.0, _NUISANCES // 2)
    return np.unique(np.concatenate([[0.0], near * most, np.linspace(0.0, most, _NUISANCES // 2)]))


def _score(newly: npt.NDArray[np.float64] | np.float64, mended: npt.NDArray[np.float64] | np.float64, parts: int,
           difference: float) -> Floats:  # fmt: skip
    """Tango's statistic at a supposed difference; small speaks for a smaller one."""
    linear = -newly - mended + (2 * parts - newly + mended) * difference
    constant = -mended * difference * (1 - difference)
    root = np.sqrt(np.maximum(linear**2 - 8 * parts * constant, 0.0))
    # The share of mended parts that fits best where the difference is what is supposed.
    share = np.clip((root - linear) / (4 * parts), max(0.0, -difference), (1 - difference) / 2)
    spread = np.sqrt(np.maximum(parts * (2 * share + difference * (1 - difference)), 1e-12))
    told: Floats = (newly - mended - parts * difference) / spread
    return told


def _check(margin: float, confidence: float) -> None:
    if not 0.0 < margin < 1.0:
        msg = f"paired bounds: expected a margin between 0 and 1, got {margin}"
        raise ValueError(msg)
    if not 0.5 < confidence < 1.0:
        msg = f"paired bounds: expected a confidence between 0.5 and 1, got {confidence}"
        raise ValueError(msg)
