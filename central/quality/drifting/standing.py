# SPDX-License-Identifier: Apache-2.0
"""Where each product's channels stand now against the reference, signalled or not. Reads a monitor, changes nothing.

That a station stayed as it was is what tells a lamp from a batch of material, so the quiet ones are asked as well.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central.quality.drifting.blocks import CHANNELS
from central.quality.drifting.reference import DAY_SCATTER, SLOW_BLOCKS
from central.quality.drifting.watching import Level, Watching

Floats = NDArray[np.float64]

LEAST_BLOCKS: Final = 8
_MOST_LATEST: Final = SLOW_BLOCKS


@dataclass(frozen=True)
class Standing:
    """One channel of one product now.

    Attributes:
        size: now less usual, in the channel's own unit (score: of ln(score)).
        usual: level at this time of day, same unit.
        error: standard error of `size`, with how much the level of a sound station wanders; above 0.
        courses: deviations in order, 0 where nothing changed: of the product's own last blocks of 30 parts, and of the
            station's last means of 1,800 parts, which reach back further; float [n] and [m].
    """

    size: float
    usual: float
    error: float
    courses: tuple[Floats, Floats]


def standings(watching: Watching, since: float) -> dict[str, dict[str, Standing]]:
    """By product and channel; a product with fewer than 8 blocks since then, or that is being learnt, is left out.

    Size: mean over the later half of the blocks since then, 60 at most: what comes slowly has come by then. Error: the
    scatter of slow blocks (1,800 parts) in the reference for the mean, and again for the level, each larger where there
    were fewer blocks, and the share by which one day's course differs from another's. Assumes that levels wander
    within a slow block as much as over longer times; batches of some hours and slower light make it too small.
    """
    found = {}
    for product in sorted(set(watching.recent_product)):
        level = watching.products.get(product)
        rows = np.flatnonzero(np.array([name == product for name in watching.recent_product], np.bool_))
        later = rows[watching.recent_at[rows] >= since]
        if level is not None and len(later) >= LEAST_BLOCKS:
            found[product] = _of_product(watching, level, rows, later)
    return found


def _of_product(
    watching: Watching, level: Level, rows: NDArray[np.intp], later: NDArray[np.intp]
) -> dict[str, Standing]:
    normal = watching.normal
    latest = later[len(later) // 2 :][-_MOST_LATEST:]
    size = watching.recent[latest].mean(0)
    blocks = max(1.0, SLOW_BLOCKS / len(latest)) + SLOW_BLOCKS / max(level.blocks, 1)
    day = DAY_SCATTER * np.sqrt((normal.harmonics**2).sum(0))
    error = np.sqrt(normal.slow_sd**2 * blocks + day**2)
    usual = level.level + normal.course(float(watching.recent_at[-1]))
    own_course = watching.recent[rows]
    found = {}
    for channel in np.flatnonzero(normal.is_watched).tolist():
        own, own_error = (float(each[channel]) * float(level.scale[channel]) for each in (size, error))
        own_usual = float(usual[channel])
        if normal.is_log[channel]:
            own_usual = math.exp(own_usual)
            own, own_error = own_usual * math.expm1(own), own_usual * own_error
        courses = own_course[:, channel].copy(), watching.hours[:, channel].copy()
        found[CHANNELS[channel]] = Standing(own, own_usual, own_error, courses)
    return found
