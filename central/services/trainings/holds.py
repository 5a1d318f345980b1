# SPDX-License-Identifier: Apache-2.0
"""Whether a training that an alarm calls for is held back, because something else than the model is likelier at fault.

What a person found to be the cause counts before what was suggested; which cause holds is `domain/training_holds.py`'s.
Called by `services/trainings/requests.py`; a training that a person asks for is never held back.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session

from central.domain.training_holds import CauseState, holds_back, state_of
from central.quality.cause import CAUSE_WORDS, REMEDY_WORDS, Cause, Remedy
from central.store.cause_tables import CauseSuggestion
from central.store.learning_tables import Alarm

HELD: Final = "training_held"
LOOKED_FOR: Final = "the likeliest cause is being looked for"
# A watch that gives no answer must not stop the learning.
_PATIENCE: Final = timedelta(minutes=5)


def held_back(session: Session, alarm: Alarm, now: datetime, *, is_cause_asked: bool) -> str | None:
    """Why no training is to be started for this alarm, in one sentence; None: nothing speaks against it."""
    if alarm.cause is not None:
        said = Cause(alarm.cause)
        if not holds_back(said, None, CauseState.CONFIRMED):
            return None
        return f"no: {CAUSE_WORDS[said]}, says {alarm.cause_by}; mend that first"
    suggestion = session.get(CauseSuggestion, alarm.id)
    if suggestion is None:
        is_young = now - alarm.raised_at < _PATIENCE
        return LOOKED_FOR if is_cause_asked and is_young else None
    if not suggestion.causes:
        return None
    return _held_by(suggestion.causes[0])


def overruled(session: Session, alarm: Alarm) -> str | None:
    """The likeliest cause that has another remedy and is too weak to hold a training back, in words; None: no such."""
    suggestion = None if alarm.cause is not None else session.get(CauseSuggestion, alarm.id)
    if suggestion is None or not suggestion.causes:
        return None
    first = suggestion.causes[0]
    cause, remedy, state = Cause(first["cause"]), Remedy(first["remedy"]), state_of(first["score"])
    if remedy is Remedy.RETRAIN or holds_back(cause, remedy, state):
        return None
    return f"although it may be {_place(first)} (weak evidence, {first['score']:.2f}): {REMEDY_WORDS[remedy]} as well"


def _held_by(first: Mapping[str, Any]) -> str | None:
    remedy, state = Remedy(first["remedy"]), state_of(first["score"])
    if not holds_back(Cause(first["cause"]), remedy, state):
        return None
    if state is CauseState.LIKELY:
        return f"no: {_place(first)} is likelier; {REMEDY_WORDS[remedy]} first"
    return (
        f"no: perhaps {_place(first)} (weak evidence, {first['score']:.2f}); {REMEDY_WORDS[remedy]} first, or say the "
        "cause of this alarm"
    )


def _place(first: Mapping[str, Any]) -> str:
    place = f" at {first['station']}" if first["station"] else f" of {first['product']}" if first["product"] else None
    return CAUSE_WORDS[Cause(first["cause"])] + (" at all stations" if place is None else place)
