# SPDX-License-Identifier: Apache-2.0
"""When a channel left its old level, and how long it took to its new one. Pure; called by who fills an observation."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

_LEAST_VALUES: Final = 8
# The beginning is seen where the first values show less than this share of the change.
_BEGINNING: Final = 0.25


def rise_share(values: npt.NDArray[np.float64], usual: float) -> float | None:
    """Share of the time since the change began that its middle half took: near 0 a step, about 2/3 a steady ramp.

    Args:
        values: float [n], block means in order, some from before the change among them do no harm.
        usual: level before, same unit.

    A rising (or falling) step function is fitted (isotonic regression, Barlow et al. 1972); the time between a quarter
    and three quarters of the whole change is divided by the time from a quarter to the end. None with fewer than 8
    blocks or no change at all. Assumes that the change went one way.
    """
    if len(values) < _LEAST_VALUES:
        return None
    change = float(np.mean(values[-max(2, len(values) // 4) :])) - usual
    if change == 0:
        return None
    fitted = isotonic_regression(np.sign(change) * (values - usual)).x / abs(change)
    quarter, most = (int(np.searchsorted(fitted, level)) for level in (0.25, 0.75))
    left = len(values) - quarter
    return float(np.clip((most - quarter) / left, 0.0, 1.0)) if left > 1 else 0.0


def began_at(values: npt.NDArray[np.float64], usual: float) -> int:
    """Index of the first value of what lasts until the end: where a change of the mean most likely began.

    Args:
        values: float [n], in order; at least one.
        usual: mean before.

    Likelihood of a step of unknown size for independent values of one scatter (Hinkley 1970): the start that makes the
    squared sum of deviations since, divided by their number, largest. Of what comes slowly it is the middle.
    """
    sums = np.cumsum((values - usual)[::-1])[::-1]
    return int(np.argmax(sums**2 / np.arange(len(values), 0, -1)))


def rise_share_seen(courses: Sequence[npt.NDArray[np.float64]], usual: float) -> float | None:
    """`rise_share` of the first course in which the beginning of the change can be seen; None: in none of them.

    Args:
        courses: the same channel in order, fine and short ones first; float [n] each.
        usual: level before, same unit.

    A course that begins in the midst of a change looks as if it had come at once, and one with a long past before it as
    if it were small: it is cut to about as much before the change as after it.
    """
    for course in courses:
        if len(course) < _LEAST_VALUES:
            continue
        values = course[max(0, 2 * began_at(course, usual) - len(course)) :]
        change = float(np.mean(values[-max(2, len(values) // 4) :])) - usual
        before = float(np.mean(values[: max(2, len(values) // 8)])) - usual
        if abs(before) < _BEGINNING * abs(change):
            return rise_share(values, usual)
    return None
