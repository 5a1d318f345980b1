# SPDX-License-Identifier: Apache-2.0
"""Which accepted parts to audit, and with what chance each of them could have been drawn.

Pure: takes the stratum's scores and a generator, returns indices and inclusion probabilities. Does not
store, ask for pictures or estimate. Called by `services/auditing.py` for each station and product and period.
"""

import math

import numpy as np
import numpy.typing as npt


def audit_budget(accepted: int, share: float, at_most: int) -> int:
    """How many of `accepted` parts to draw: the share rounded up, at least 1, at most `at_most`.

    At least one, because a stratum that is never looked at can hide any number of escapes.
    """
    if accepted <= 0 or at_most <= 0:
        return 0
    return min(accepted, at_most, max(1, math.ceil(accepted * share)))


def draw_audit(
    score: npt.NDArray[np.float64], budget: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Simple random draw without replacement: every part of the stratum has the chance k/n.

    Args:
        score: float [n], detector scores of the stratum. Their number counts here, their values do not yet.
        budget: how many to draw; more than n draws all.
        rng: the generator that decides; the caller keeps it, so that a draw can be repeated.

    Returns:
        index int [k] in rising order, and the inclusion probability float [k] of each of them.

    Raises:
        ValueError: a negative budget.
    """
    if budget < 0:
        msg = f"audit draw: expected a budget of 0 or more, got {budget}"
        raise ValueError(msg)
    stratum = len(score)
    drawn = min(budget, stratum)
    if drawn == 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float64)
    index = np.sort(rng.choice(stratum, size=drawn, replace=False))
    return index.astype(np.intp), np.full(drawn, drawn / stratum)
