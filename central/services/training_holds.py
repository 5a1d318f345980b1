# SPDX-License-Identifier: Apache-2.0
"""Whether a training that an alarm calls for is held back, because something else than the model is likelier at fault.

A model that is trained on pictures of a dirty lens learns the dirt. What a person found to be the cause counts before
what was suggested. Called by `services/training_requests.py`; a training that a person asks for is never held back.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from central.quality.cause import CAUSE_WORDS, REMEDY_WORDS, Cause, Remedy
from central.store.cause_tables import CauseSuggestion
from central.store.learning_tables import Alarm

HELD: Final = "training_held"
LOOKED_FOR: Final = "the likeliest cause is being looked for"
# Causes for which training can be the remedy.
_LEARNT: Final = (Cause.MODEL_WRONG, Cause.NEW_DEFECT_KIND)
# A watch that gives no answer must not stop the learning.
_PATIENCE: Final = timedelta(minutes=5)


def held_back(session: Session, alarm: Alarm, now: datetime, *, is_cause_asked: bool) -> str | None:
    """Why no training is to be started for this alarm, in one sentence; None: nothing speaks against it."""
    if alarm.cause is not None:
        said = Cause(alarm.cause)
        if said in _LEARNT:
            return None
        return f"no: {CAUSE_WORDS[said]}, says {alarm.cause_by}; mend that first"
    suggestion = session.get(CauseSuggestion, alarm.id)
    if suggestion is None:
        is_young = now - alarm.raised_at < _PATIENCE
        return LOOKED_FOR if is_cause_asked and is_young else None
    if not suggestion.causes:
        return None
    first = suggestion.causes[0]
    remedy = Remedy(first["remedy"])
    if remedy is Remedy.RETRAIN:
        return None
    where = first["station"] or first["product"]
    place = f" at {where}" if first["station"] else f" of {where}" if where else " at all stations"
    return f"no: {CAUSE_WORDS[Cause(first['cause'])]}{place} is likelier; {REMEDY_WORDS[remedy]} first"
