# SPDX-License-Identifier: Apache-2.0
"""Sudden or slow: how long a channel took from its old level to its new one. Pure; called by who fills a `Shift`."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression


def rise_share(values: npt.NDArray[np.float64], usual: float) -> float | None:
    """Share of the time since the change began that its middle half took: near 0 a step, about 2/3 a steady ramp.

    Args:
        values: float [n], block means in order, some from before the change among them do no harm.
        usual: level before, same unit.

    A rising (or falling) step function is fitted (isotonic regression, Barlow et al. 1972); the time between a quarter
    and three quarters of the whole change is divided by the time from a quarter to the end. None with fewer than 8
    blocks or no change at all. Assumes that the change went one way.
    """
    if len(values) < 8:
        return None
    change = float(np.mean(values[-max(2, len(values) // 4) :])) - usual
    if change == 0:
        return None
    fitted = isotonic_regression(np.sign(change) * (values - usual)).x / abs(change)
    quarter, most = (int(np.searchsorted(fitted, level)) for level in (0.25, 0.75))
    left = len(values) - quarter
    return float(np.clip((most - quarter) / left, 0.0, 1.0)) if left > 1 else 0.0
