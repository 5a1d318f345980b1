# SPDX-License-Identifier: Apache-2.0
"""The judging desk in the browser: picture with zoom, answers by key. Returns what the person answered.

Knows neither central nor verdicts: what it is not given it cannot show. Called by the audit page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from contracts.vocabulary import Judgement


@dataclass(frozen=True)
class Answer:
    """One answer, tied to the audit that was on the screen when it was given."""

    audit_id: int
    judgement: Judgement
    defect_class: str | None


@cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component(
        "sightline_judge", html=_asset("judge.html"), css=_asset("judge.css"), js=_asset("judge.js")
    )


def judging_desk(audit_id: int, picture_url: str, classes: Sequence[str], *, attempt: int) -> Answer | None:
    """Show a part; the answer is returned in the one run that it triggers.

    `attempt` rises when an answer could not be stored, so that the same part may be answered again.
    """
    shown = {"audit_id": audit_id, "picture": picture_url, "classes": list(classes), "attempt": attempt}
    result = _component()(key="judging-desk", data=shown, on_judged_change=lambda: None)
    return parse_answer(result.judged)


def parse_answer(value: object) -> Answer | None:
    """An answer out of what the browser sent; None for anything else (a browser can send anything)."""
    if not isinstance(value, Mapping):
        return None
    audit_id, word, defect = value.get("audit_id"), value.get("judgement"), value.get("defect_class")
    if not isinstance(audit_id, int) or word not in set(Judgement) or not isinstance(defect, str | None):
        return None
    return Answer(audit_id, Judgement(word), defect)
