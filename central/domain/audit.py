# SPDX-License-Identifier: Apache-2.0
"""What an audit means: which outcomes count, which are escapes, when a draw is lost.

Does not draw (`quality/sampling.py`) and does not ask for pictures (`services/auditing.py`). Called by the
services, the watch and the API.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.vocabulary import Judgement, Verdict


def is_escape(verdict: Verdict, judgement: Judgement) -> bool:
    """A defective part judged OK. In REVIEW it was handed to a person and is none; UNSURE proves nothing."""
    return verdict is Verdict.OK and judgement is Judgement.DEFECTIVE


def is_firm(judgement: Judgement | None) -> bool:
    """Whether a judgement may count in rates and train. UNSURE may not: it is an answer, but not one about the part."""
    return judgement in (Judgement.GOOD, Judgement.DEFECTIVE)


@dataclass(frozen=True)
class AuditedPart:
    """One firm outcome in the order in which the parts were made."""

    inspection_id: int
    captured_at: datetime
    is_defective: bool
    inclusion_probability: float


def next_request_at(drawn_at: datetime, last_request_at: datetime | None, lost_after_s: float) -> datetime:
    """When to ask the station (again) for a picture: at once, then four times before the audit counts as lost."""
    if last_request_at is None:
        return drawn_at
    return last_request_at + timedelta(seconds=max(1.0, lost_after_s / 4))
