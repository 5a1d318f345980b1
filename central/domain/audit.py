# SPDX-License-Identifier: Apache-2.0
"""What an audit means: which outcomes count, which are escapes, which may be pooled, when a draw is lost.

Does not draw (`quality/sampling.py`) and does not ask for pictures (`services/audits/auditing.py`). Called by the
services, the watch and the API.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from contracts.vocabulary import Judgement, Verdict


def is_escape(verdict: Verdict, judgement: Judgement) -> bool:
    """A defective part judged OK. In REVIEW it was handed to a person and is none; UNSURE proves nothing."""
    return verdict is Verdict.OK and judgement is Judgement.DEFECTIVE


def is_firm(judgement: Judgement | None) -> bool:
    """Whether a judgement may count in rates and train. UNSURE may not: it is an answer, but not one about the part."""
    return judgement in (Judgement.GOOD, Judgement.DEFECTIVE)


# Askings about one part, after which nobody is asked any more: what so many cannot tell is not known.
MOST_ASKINGS: Final = 5


def settle(verdict: Verdict, answers: Sequence[Judgement], *, is_single: bool = False) -> Judgement | None:
    """What the answers of different inspectors on one part come to; None: one more is to be asked.

    An accepted part is good by the first firm answer GOOD, and defective when a second inspector says so too; where the
    second disagrees it counts as good, without a third (`quality/agreement.confirmed` says why). Of any other part the
    two firm answers that first agree count, which is the majority of three (`agreement.by_majority`). UNSURE is no
    answer, and goes on to the next inspector.

    Args:
        verdict: what the machine said.
        answers: in the order in which they were given, blind repeats left out.
        is_single: one answer is enough, UNSURE too: one inspector is all there are, or it is no audit for a rate.
    """
    if is_single:
        return answers[0] if answers else None
    firm = [answer for answer in answers if is_firm(answer)]
    if verdict is Verdict.OK:
        if firm and firm[0] is Judgement.GOOD:
            return Judgement.GOOD
        if len(firm) > 1:
            return firm[1]
    else:
        for wanted in (Judgement.GOOD, Judgement.DEFECTIVE):
            if firm.count(wanted) > 1:
                return wanted
    return Judgement.UNSURE if len(answers) >= MOST_ASKINGS else None


@dataclass(frozen=True)
class AuditedPart:
    """One firm outcome in the order in which the parts were made. `is_floor`: equal chance drew it."""

    inspection_id: int
    captured_at: datetime
    is_defective: bool
    inclusion_probability: float
    is_floor: bool = True


def next_request_at(drawn_at: datetime, last_request_at: datetime | None, lost_after_s: float) -> datetime:
    """When to ask the station (again) for a picture: at once, then four times before the audit counts as lost."""
    if last_request_at is None:
        return drawn_at
    return last_request_at + timedelta(seconds=max(1.0, lost_after_s / 4))


class PoolCut(StrEnum):
    """Why audits are counted from a moment on and not before."""

    PERIOD = "PERIOD"
    PACKAGE = "PACKAGE"
    ALARM = "ALARM"


@dataclass(frozen=True)
class PackageSpan:
    """What one package judged at one station, of one product. `first`, `last`: minutes of capture time."""

    package_id: str
    first: datetime
    last: datetime
    accepted: int
    rejected: int
    reviewed: int = 0


@dataclass(frozen=True)
class Pool:
    """Which audits of a station × product may be put into one estimate: of this package, captured at `since` or later.

    `accepted`, `rejected`, `reviewed` (OK, NG, REVIEW): parts of that package in the asked period; they may be of a
    little before `since`, which makes the interval no narrower than it should be.
    """

    package_id: str
    since: datetime
    cut: PoolCut
    accepted: int
    rejected: int
    reviewed: int = 0


def pool_of(spans: Sequence[PackageSpan], period_since: datetime, alarm_at: datetime | None) -> Pool | None:
    """What is still true of the parts that are made now: nothing from before the last package change or alarm.

    Args:
        spans: what judged here in the period, one for each package.
        period_since: when the period begins.
        alarm_at: when the last alarm on escapes of this product was raised or closed.

    Returns:
        The pool of the package that judged last; None when none did.
    """
    if not spans:
        return None
    current = max(spans, key=lambda span: (span.last, span.first))
    since, cut = period_since, PoolCut.PERIOD
    others = [span.last for span in spans if span is not current]
    if others:
        # Of a package that went and came back, only what it judged since it came back.
        since, cut = max(current.first, *others), PoolCut.PACKAGE
    if alarm_at is not None and alarm_at > since:
        since, cut = alarm_at, PoolCut.ALARM
    return Pool(current.package_id, since, cut, current.accepted, current.rejected, current.reviewed)
