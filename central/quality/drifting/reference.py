# SPDX-License-Identifier: Apache-2.0
"""What is normal at a station: the level of each product, the day's course, scatter and dead-bands, from a reference.

The day's course is two harmonics of 24 hours (UTC) for each channel, shared by all products; channels that are all
positive are followed as logarithms, so that light which fades by 5 % is the same for a dark product and a bright one.
Harmonics are shrunk towards none by what chance would show (James and Stein), since a course that is not there would
be put in every day. Assumes that the next weeks scatter as the reference did; a reference with a step in it is refused.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central.quality.drifting import whitening
from central.quality.drifting.whitening import Whitening

Floats = NDArray[np.float64]

SLOW_BLOCKS: Final = 60
DAY_S: Final = 86_400.0
_ORDER_FAST: Final = 20
_ORDER_SLOW: Final = 1
# Dead-bands, in standard deviations of the slow blocks: for steps against the last minutes two of them, since
# neighbouring batches differ by that now and then; for what lasts less. And the share of the day's course by which
# one day may differ from another: three days say little about it, so it is not estimated alone.
_BAND_FAST: Final = 2.0
_BAND_SLOW: Final = 0.6
DAY_SCATTER: Final = 0.12
# No shift smaller than this share of one part's own scatter is of interest.
_LEAST_SHIFT: Final = 0.05
# Between the cuts of a winsorised block of 30 Gaussian values lie 2.4 standard deviations.
_CUT_WIDTH: Final = 2.4
_ODD: Final = 7.0


@dataclass(frozen=True)
class Normal:
    """What the reference taught. c channels.

    Attributes:
        is_log: followed as a logarithm, bool [c]; floor: the least value that one is taken of, float [c].
        harmonics: float [4, c], weights of cos, sin of 24 h and of 12 h.
        fast, slow: whitening of blocks of 30 and of 1,800 parts.
        fast_band, slow_band: dead-bands, float [c].
        slow_sd: standard deviation of slow blocks, float [c].
        spread: width between the cuts of a block, in the channel's followed scale, float [c].
        is_watched: whether the channel varied at all, bool [c].
        blocks: how many blocks it rests on.
    """

    is_log: NDArray[np.bool_]
    floor: Floats
    harmonics: Floats
    fast: Whitening
    slow: Whitening
    fast_band: Floats
    slow_band: Floats
    slow_sd: Floats
    spread: Floats
    is_watched: NDArray[np.bool_]
    blocks: int

    def follow(self, mean: Floats) -> Floats:
        """Block means in the scale in which they are followed, float [c]."""
        return np.asarray(np.where(self.is_log, np.log(np.where(self.is_log, np.maximum(mean, self.floor), 1.0)), mean))

    def course(self, middle: float) -> Floats:
        """The day's course at a time, float [c]."""
        angle = (2 * math.pi / DAY_S) * math.fmod(middle, DAY_S)
        waves = (math.cos(angle), math.sin(angle), math.cos(2 * angle), math.sin(2 * angle))
        return np.asarray(np.array(waves) @ self.harmonics)


@dataclass(frozen=True)
class Learnt:
    """Result of a fit: what is normal, levels by product code, or since when the reference is of one piece.

    Attributes:
        normal: None when the reference has a step.
        level: float [products, c].
        tail: deviations of the last 60 blocks from the baseline, float [60, c], so that watching goes on from there.
        odd_channel, odd_at: the channel that has a step, by row, and when it was.
    """

    normal: Normal | None
    level: Floats
    tail: Floats
    odd_channel: int = -1
    odd_at: float = 0.0


def harmonics_at(at: Floats) -> Floats:
    """Two harmonics of the time of day, float [n, 4]."""
    angle = (2 * np.pi / DAY_S) * np.mod(at, DAY_S)
    return np.stack((np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)), 1)


def learn(middle: Floats, code: NDArray[np.intp], mean: Floats, spread: Floats, is_next: NDArray[np.bool_]) -> Learnt:
    """Fit to blocks of 30 parts.

    Args:
        middle: mean capture times, float [n].
        code: product of each, int [n], 0 … products - 1.
        mean: of `blocks`, float [n, c].
        spread: likewise.
        is_next: whether a block follows the one before without a stop, bool [n].

    Returns:
        what is normal, or where the reference breaks.
    """
    usual = np.median(mean, 0)
    scatter = np.median(np.abs(np.diff(mean, axis=0)), 0)
    is_log = (mean.min(0) > 0) & (usual > 10 * scatter)
    is_log[0] = False  # The score's logarithm was taken part by part.
    floor = np.where(is_log, 1e-3 * usual, 1.0)
    followed = np.where(is_log, np.log(np.where(is_log, mean, 1.0)), mean)
    level, harmonics = _fit_course(middle, code, followed)
    left = followed - level[code] - harmonics_at(middle) @ harmonics
    slow, slow_next, slow_at = _slow(left, is_next, middle)
    is_watched = scatter > 1e-9 * np.maximum(np.abs(usual), 1e-9)
    channel, row = _step(slow[:, is_watched])
    if channel >= 0:
        return Learnt(None, level, left[-SLOW_BLOCKS:], int(np.flatnonzero(is_watched)[channel]), float(slow_at[row]))
    slow_sd = whitening.robust_sd(slow)
    kept = _shrunk(harmonics, slow_sd, len(slow))
    left = followed - level[code] - harmonics_at(middle) @ kept
    slow, slow_next, _ = _slow(left, is_next, middle)
    tiny = np.where(is_watched, 1e-6 * np.maximum(scatter, 1e-12), 1.0)
    slow_sd = np.maximum(whitening.robust_sd(slow), tiny)
    fast = whitening.fit(left, is_next, _ORDER_FAST)
    slow_fit = whitening.fit(slow, slow_next, _ORDER_SLOW)
    wide = np.median(np.where(is_log, spread / np.maximum(mean, floor), spread), 0)
    least = _LEAST_SHIFT * wide / _CUT_WIDTH
    day = DAY_SCATTER * np.sqrt((kept**2).sum(0))
    normal = Normal(
        is_log, floor, kept,
        Whitening(fast.phi, np.maximum(fast.sd, tiny)), Whitening(slow_fit.phi, np.maximum(slow_fit.sd, tiny)),
        np.maximum(_BAND_FAST * slow_sd, least), np.maximum(_BAND_SLOW * slow_sd, least) + day,
        slow_sd, np.maximum(wide, tiny), is_watched, len(middle),
    )  # fmt: skip
    return Learnt(normal, level, left[-SLOW_BLOCKS:])


def _fit_course(middle: Floats, code: NDArray[np.intp], followed: Floats) -> tuple[Floats, Floats]:
    """Levels [products, c] and harmonics [4, c] by least squares; blocks that lie far off count up to a bound."""
    products = int(code.max()) + 1
    design = np.concatenate((np.eye(products)[code], harmonics_at(middle)), 1)
    # A hundredth, so that hours in which the line never runs cannot carry a course made of noise.
    ridge = np.diag(np.r_[np.full(products, 1e-9), np.full(4, 0.01)]) * len(middle)
    normal = design.T @ design + ridge
    target = followed
    for _ in range(3):
        weights = np.linalg.solve(normal, design.T @ target)
        left = followed - design @ weights
        bound = 5 * 1.4826 * np.median(np.abs(left), 0) + 1e-300
        target = design @ weights + np.clip(left, -bound, bound)
    return weights[:products], weights[products:]


def _shrunk(harmonics: Floats, slow_sd: Floats, slow_blocks: int) -> Floats:
    """Less of each harmonic, by the share that chance alone would give; none where chance explains it."""
    by_chance = 4 * slow_sd**2 / max(1, slow_blocks)
    kept = harmonics.copy()
    for first in (0, 2):
        pair = harmonics[first : first + 2]
        power = np.maximum((pair**2).sum(0), 1e-300)
        kept[first : first + 2] = pair * np.maximum(0.0, 1 - by_chance / power)
    return kept


def _slow(left: Floats, is_next: NDArray[np.bool_], middle: Floats) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Means of 60 blocks each, whether they follow one another, and when they began."""
    whole = len(left) // SLOW_BLOCKS
    kept = left[: whole * SLOW_BLOCKS].reshape(whole, SLOW_BLOCKS, -1).mean(1)
    is_whole = np.append(is_next[1:], True)[: whole * SLOW_BLOCKS].reshape(whole, SLOW_BLOCKS)
    follows = np.append(False, is_whole[:-1].mean(1) > 0.9)
    return kept, follows, middle[: whole * SLOW_BLOCKS : SLOW_BLOCKS]


def _step(slow: Floats) -> tuple[int, int]:
    """Channel and row of a step that no usual scatter explains, or -1, -1.

    Difference of means before and after, in standard errors that allow for neighbours which are alike, and at least
    two standard deviations large.
    """
    count = len(slow)
    found, most = (-1, -1), _ODD
    for row in range(4, count - 3):
        before, after = slow[:row], slow[row:]
        within = np.sqrt((before.var(0) * row + after.var(0) * (count - row)) / count) + 1e-300
        size = np.abs(after.mean(0) - before.mean(0)) / within
        alike = 4 * (1 / row + 1 / (count - row))
        score = np.where(size > 2, size / np.sqrt(alike), 0.0)
        if score.size and score.max() > most:
            most, found = float(score.max()), (int(score.argmax()), row)
    return found
