# SPDX-License-Identifier: Apache-2.0
"""The scale on which people read scores: how rare a sound part is that scores as high. Pure.

A detector's score has no unit; "one sound part in 400 scores this high" has. Fitted on the cross-fitted scores of sound
parts; `contracts.manifest.ScoreScale` carries it and reads it. Decides nothing: verdicts compare scores with limits.
Called by `placing`.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import ScoreScale

Floats = NDArray[np.floating]
_KNOTS: Final = 24
_DECADE: Final = math.log(10)


def upper_tail(ordered: Floats) -> float:
    """Mean excess of the upper quarter of ascending scores: the scale of an exponential tail; 0 when all are equal."""
    upper = ordered[-max(3, len(ordered) // 4) :]
    return float(np.mean(upper - upper[0]))


def fit_scale(parts: Floats) -> ScoreScale | None:
    """The scale of the sound parts' scores [n], each part's highest; None for no part or scores that are no numbers.

    The share that scores at least the i-th lowest of n is (n + 1 − i) ÷ (n + 1) in the mean over trainings, whatever
    the distribution (Weibull's plotting position). Equal scores are one knot.
    """
    if len(parts) == 0 or not np.isfinite(parts).all():
        return None
    ordered = np.sort(parts.astype(np.float64))
    scores = np.unique(ordered)
    # The part itself counts among those at least as high; of equal ones all do.
    share = (len(ordered) - np.searchsorted(ordered, scores, side="left")) / (len(ordered) + 1)
    rarities = -np.log10(share)
    pick = np.unique(np.searchsorted(rarities, np.linspace(rarities[0], rarities[-1], _KNOTS)))
    scores, rarities = scores[pick], rarities[pick]
    # One tail's length further it is e times as rare. Equal scores show no tail: any length will do.
    tail = upper_tail(ordered) or max(1.0, abs(float(scores[-1])))
    return ScoreScale(
        scores=[*scores.tolist(), float(scores[-1]) + tail],
        rarities=[*rarities.tolist(), float(rarities[-1]) + 1 / _DECADE],
        parts=len(ordered),
    )
