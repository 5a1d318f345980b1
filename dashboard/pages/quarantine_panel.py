# SPDX-License-Identifier: Apache-2.0
"""The parts that the package of a rollout let pass, those nearest to its limit first, and all of them as a file.

Called by `rollouts`.
"""

from html import escape

import streamlit as st

from dashboard import frame, marks, words
from dashboard.access import Viewer
from dashboard.lifecycle import QuarantinePart, RolloutEvidence

MOST_PARTS = 50
# The list is sorted anew out of all parts that the package judged: not with every look at the page.
_KEEP_S = 30.0


def draw(view: Viewer, evidence: RolloutEvidence) -> None:
    """The table and both files; without the table where the package has passed no part."""
    number, passed = evidence.rollout.id, evidence.exposure.passed
    if passed:
        reading = view.feed.get(("quarantine", number), lambda central: central.quarantine(number, MOST_PARTS), _KEEP_S)
        parts = reading.or_else(())
        shown = f"the {len(parts)} of {words.count(passed)} that came nearest to its limit" if parts else "not known"
        frame.section("Quarantine list: parts that its package let pass", note=shown)
        frame.banner(view, (reading,))
        if parts:
            head = ("Station", "Captured", "Part", "Trigger", "Score")
            st.html(marks.table(head, [_row(view, part) for part in parts]))
    _files(view, number, passed)


def _row(view: Viewer, part: QuarantinePart) -> tuple[str, ...]:
    name = part.part_id if part.part_id is not None else f"report {part.epoch}/{part.sequence}"
    return (
        f"<b>{escape(part.station)}</b>",
        escape(words.day_time(part.captured_at, view.zone)),
        escape(name),
        "–" if part.trigger_number is None else str(part.trigger_number),
        "–" if part.score is None else f"{part.score:.3f}",
    )


def _files(view: Viewer, number: int, passed: int) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Evidence (JSON)",
            lambda: view.feed.client.rollout_file(number, "evidence"),
            file_name=f"rollout-{number}.json",
            mime="application/json",
            key=f"rollout-{number}-evidence",
            icon=":material/download:",
        )
        st.download_button(
            f"Quarantine list ({words.plural(passed, 'part')})",
            lambda: view.feed.client.rollout_file(number, "quarantine.csv"),
            file_name=f"quarantine-rollout-{number}.csv",
            mime="text/csv",
            key=f"rollout-{number}-quarantine",
            icon=":material/download:",
            help="The parts that this package let pass: to find them again when it turns out to be bad.",
        )
