# SPDX-License-Identifier: Apache-2.0
"""What is likeliest behind an alarm, in words: cause, place, what to do, evidence. Called by the alarms page.

Central ranks; nothing is decided here but when two causes are too close to tell apart.
"""

from html import escape
from typing import Final

from dashboard.shapes import Alarm, SuggestedCause

# As central names them; the order in which they are offered.
CAUSE_WORD: Final = {
    "CAMERA_OR_LAMP": "camera or lamp",
    "LENS_FOULING": "dirty lens",
    "CAMERA_MOVED": "camera moved or out of focus",
    "MATERIAL_BATCH": "batch of material",
    "NEW_DEFECT_KIND": "new kind of defect",
    "PROCESS_WORSE": "process got worse",
    "MODEL_WRONG": "model is wrong",
    "WANTED_CHANGE": "changed on purpose",
}
REMEDY_WORD: Final = {
    "RE_LIGHT": "look at lamp and exposure",
    "CLEAN": "clean the lens",
    "RE_AIM": "aim and focus the camera anew",
    "HOLD_BATCH": "hold the batch and look at it",
    "AUDIT_MORE": "judge more audits",
    "MEND_PROCESS": "mend the process",
    "ROLL_BACK": "roll the package back",
    "RETRAIN": "train anew",
    "NEW_REFERENCE": "nothing is broken; let the monitors learn anew",
}
# Scores are no probabilities; of two this near either may be right.
_CLOSE: Final = 0.75


def cause_word(cause: str) -> str:
    """A cause for people; one that this dashboard does not know is shown as central names it."""
    return CAUSE_WORD.get(cause, cause.replace("_", " ").lower())


def remedy_word(remedy: str) -> str:
    """A remedy for people, likewise."""
    return REMEDY_WORD.get(remedy, remedy.replace("_", " ").lower())


def likeliest(item: Alarm) -> str | None:
    """What to offer first when a person says the cause: what was said, else what central holds for likeliest."""
    if item.cause is not None:
        return item.cause
    return item.suggested_causes[0].cause if item.suggested_causes else None


def suggested(item: Alarm) -> str:
    """As a part of the alarm's card; empty when nothing points to a cause."""
    if not item.suggested_causes:
        return ""
    first, *others = item.suggested_causes
    same = "" if item.same_cause_as is None else f" Same cause as alarm {item.same_cause_as}."
    evidence = "".join(f"<li>{escape(sentence)}</li>" for sentence in first.evidence)
    close = others[0] if others and others[0].score >= _CLOSE * first.score else None
    second = ""
    if close is not None:
        second = (
            f'<div class="sl-below">Right or second: {escape(_placed(close))} fits nearly as well '
            f"({close.score:.2f}); then {escape(remedy_word(close.remedy))}.</div>"
        )
    return (
        f'<div style="margin-top:.35rem"><b>Likeliest cause:</b> {escape(_placed(first))} '
        f"(fits {first.score:.2f} of 1); {escape(remedy_word(first.remedy))}.{escape(same)}</div>{second}"
        f'<ul class="sl-below" style="margin:.2rem 0 0 1rem">{evidence}</ul>'
    )


def _placed(cause: SuggestedCause) -> str:
    place = " · ".join(part for part in (cause.station, cause.product) if part)
    return f"{cause_word(cause.cause)}, {place or 'all stations'}"
