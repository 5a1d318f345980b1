# SPDX-License-Identifier: Apache-2.0
"""Parts that people are asked about so that a training learns from them: how many, and why. Called by `audit`.

Of the part that is being judged nothing is said before the answer: that the machine was in doubt would lean on it.
"""

from html import escape
from typing import Final

from dashboard import words
from dashboard.shapes import AuditSummary

_WHY: Final = {
    "UNCERTAIN": "its score lies near the limit",
    "NOVEL": "it looks unlike what was judged",
    "DISAGREEMENT": "champion and challenger rank it differently",
    "SUSPECT_LABEL": "models that had not seen it disagree with its label",
}


def why(reason: str) -> str:
    """A reason as the end of a sentence; of a newer central the word itself."""
    return _WHY.get(reason, reason.lower().replace("_", " "))


def asked(summary: AuditSummary) -> str:
    """The budget of the shift and what waits, by reason."""
    waiting = "".join(
        f"<dt>{words.count(count)}</dt><dd>{escape(why(reason))}</dd>"
        for reason, count in sorted(summary.asked_waiting.items())
    )
    used = f"{words.count(summary.asked)} of {words.count(summary.asked_budget)} this shift"
    return (
        f'<b>Asked for, to learn from</b> {used}<dl class="sl-facts">{waiting}</dl>'
        '<div class="sl-below">They come after the audits and count in no rate.</div>'
    )
