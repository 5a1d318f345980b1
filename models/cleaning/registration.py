# SPDX-License-Identifier: Apache-2.0
"""Pictures whose part does not lie where it lies in the others of the set.

The middle of the median edges of all pictures is looked for in each one (normalised cross-correlation: Lewis, 1995).
Says nothing of a set whose parts do not lie still by themselves: there no place is the right one. Finds shifts, no
turns. Pure. Called by `command`.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.cleaning.faults import Fault, Finding
from models.cleaning.measures import EDGES_SIDE, Edges, Measures

LEAST_PICTURES: Final = 10
# Shares of the picture's side. Parts that lie still are within the first, half of them at least.
STILL: Final = 0.02
MOST_SHIFT: Final = 0.04
# Below this the part was not found at all, and where it would be means nothing.
LEAST_MATCH: Final = 0.5
# Cells around the middle in which it is looked for: 19 % of the side.
_REACH: Final = 12


def find_moved(measured: Sequence[Measures]) -> tuple[list[Finding], str | None]:
    """Pictures that lie elsewhere, and why none was looked for (None: they were)."""
    if len(measured) < LEAST_PICTURES:
        return [], f"place: not looked at; expected at least {LEAST_PICTURES} pictures, got {len(measured)}"
    shifts, match = shifts_of(np.stack([each.edges for each in measured]))
    furthest = np.abs(shifts).max(1)
    is_found = match >= LEAST_MATCH
    if np.count_nonzero(is_found & (furthest <= STILL)) * 2 < len(measured):
        return [], "place: not looked at; most parts of this set do not lie in one place"
    moved = np.flatnonzero(is_found & (furthest > MOST_SHIFT)).tolist()
    return [
        Finding(
            row,
            Fault.MOVED,
            f"lies {shifts[row][0]:+.0%} of the width and {shifts[row][1]:+.0%} of the height from where the others "
            f"do, expected at most {MOST_SHIFT:.0%}",
        )
        for row in moved
    ], None


def shifts_of(edges: Edges) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of edges [n, 64, 64]: the shift of each from the median, shares of width and height [n, 2], and its match [n]."""
    soft = np.stack([cv2.GaussianBlur(each, (0, 0), 1.0) for each in edges])
    usual = np.median(soft, axis=0).astype(np.float32)
    middle = np.ascontiguousarray(usual[_REACH:-_REACH, _REACH:-_REACH])
    shifts, match = np.zeros((len(edges), 2)), np.zeros(len(edges))
    for row, each in enumerate(soft):
        _, match[row], _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(each, middle, cv2.TM_CCOEFF_NORMED))
        shifts[row] = (x - _REACH) / EDGES_SIDE, (y - _REACH) / EDGES_SIDE
    return shifts, match
