# SPDX-License-Identifier: Apache-2.0
"""Why nothing was trained since: what each trigger of trainings says now. Called by `packages`."""

from collections.abc import Iterator
from html import escape
from typing import Final

import streamlit as st

from contracts.vocabulary import TrainingTrigger
from dashboard import marks, words
from dashboard.access import Viewer
from dashboard.lifecycle import TrainingDecision

HEAD: Final = ("Product", "Trigger", "Training", "Since", "Why")
_NAMES: Final = {
    TrainingTrigger.ALARM: "alarm on escapes",
    TrainingTrigger.LABELS: "new labels",
    TrainingTrigger.SCHEDULE: "schedule",
    TrainingTrigger.FIRST_PARTS: "first sound parts",
    TrainingTrigger.PERSON: "a person",
}
_MOST_ROWS: Final = 60


def draw(view: Viewer) -> None:
    """A folded table; nothing before any trigger has answered."""
    found = view.feed.get("training-decisions", lambda central: central.training_decisions(), 4.0).or_else(())
    if not found:
        return
    with st.expander("Why was nothing trained since? What each trigger says"):
        st.html(marks.table(HEAD, rows(found, view)))


def rows(found: tuple[TrainingDecision, ...], view: Viewer) -> Iterator[tuple[str, ...]]:
    """By product, in the order in which triggers changed their answers, the last change first."""
    for item in sorted(found, key=lambda item: item.product)[:_MOST_ROWS]:
        answer = marks.badge("started", "good") if item.is_yes else marks.badge("no", "idle")
        yield (
            f"{escape(item.product)} {marks.simulated(item.is_simulated)}",
            escape(_NAMES[item.trigger]),
            answer,
            escape(words.ago(item.at, view.now)),
            f'<span class="sl-below">{escape(item.reason)}</span>',
        )
