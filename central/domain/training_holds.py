# SPDX-License-Identifier: Apache-2.0
"""Which likeliest cause holds a training back, by what it is and by how sure it is. Pure; reads nothing stored.

A model trained on pictures of a dirty lens learns the dirt, so whatever spoils pictures holds a training back however
weak the evidence, and so does a new kind of defect of which too little is judged to learn it. Of other causes the worst
that a training too early does is to cost time; they hold it back when they are likely, or when a person found them.
Called by `services/trainings/holds.py`.
"""

from enum import StrEnum
from typing import Final

from central.quality.cause import Cause, Remedy

# Of a score between 0 and 1, a product of degrees (`quality/cause`); below .12 no cause is named at all.
LIKELY_FROM: Final = 0.4
# What a training would learn from: pictures that are not what they will be once this is mended.
_SPOILS_PICTURES: Final = (Cause.LENS_FOULING, Cause.CAMERA_OR_LAMP, Cause.CAMERA_MOVED)
# Causes for which training can be the remedy.
_LEARNT: Final = (Cause.MODEL_WRONG, Cause.NEW_DEFECT_KIND)


class CauseState(StrEnum):
    """How sure an alarm's cause is."""

    CONFIRMED = "CONFIRMED"
    LIKELY = "LIKELY"
    WEAK = "WEAK"


def state_of(score: float | None) -> CauseState:
    """Of the likeliest cause. `score`: None: a person found it to be the cause."""
    if score is None:
        return CauseState.CONFIRMED
    return CauseState.LIKELY if score >= LIKELY_FROM else CauseState.WEAK


def holds_back(cause: Cause, remedy: Remedy | None, state: CauseState) -> bool:
    """Whether no training is to be begun by itself while this is the likeliest cause.

    Args:
        cause: the likeliest, or what a person said.
        remedy: that goes with it; None where a person said it, whose word brings none.
        state: how sure it is.
    """
    if state is CauseState.CONFIRMED:
        return cause not in _LEARNT
    if remedy is Remedy.RETRAIN:
        return False
    return state is CauseState.LIKELY or cause in _SPOILS_PICTURES or remedy is Remedy.AUDIT_MORE
