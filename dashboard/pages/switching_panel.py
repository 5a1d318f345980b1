# SPDX-License-Identifier: Apache-2.0
"""How severely accepted parts are audited, on the audit page: the state of each station and product, and its reason.

Folded: who judges need not know what earlier shifts were like. Called by `pages.audit`.
"""

from html import escape
from typing import Final

import streamlit as st

from dashboard import access, frame, marks, words
from dashboard.access import Viewer
from dashboard.audit_shapes import AuditShift
from dashboard.client import CentralError

DISCONTINUED: Final = "DISCONTINUED"
_TONE: Final = {"TIGHTENED": "warn", DISCONTINUED: "bad", "NORMAL": "good"}
_HEAD: Final = ("Station", "Product", "Audits", "Why", "Since", "This shift")


def draw(view: Viewer) -> None:
    """The table, and a button for each that waits for a person."""
    frame.told(view)
    reading = view.feed.get("audit-shifts", lambda central: central.audit_shifts(), 5.0)
    shifts = reading.or_else(())
    stopped = [each for each in shifts if each.inspection == DISCONTINUED]
    for each in stopped:
        _stopped(view, each)
    with st.expander("How much is audited", expanded=False):
        frame.banner(view, (reading,))
        if not shifts:
            st.html(marks.empty("No part was drawn yet", "Each station and product gets a line with its first draw."))
            return
        st.html(marks.table(_HEAD, (row(view, each) for each in shifts)))


def row(view: Viewer, shift: AuditShift) -> tuple[str, ...]:
    """One station and product as cells."""
    by = f", by {shift.changed_by}" if shift.changed_by else ""
    planned = f" of {words.count(shift.budget)} planned" if shift.budget is not None else ""
    word = marks.badge(shift.inspection.replace("_", " ").lower(), _TONE.get(shift.inspection, "busy"))
    return (
        f"{escape(shift.station)} {marks.simulated(shift.is_simulated)}",
        escape(shift.product or "not known"),
        word,
        escape(shift.reason),
        escape(words.day_time(shift.changed_at, view.zone) + by),
        f"{words.count(shift.drawn)}{planned}, from {words.plural(shift.accepted, 'accepted part')}",
    )


def _stopped(view: Viewer, shift: AuditShift) -> None:
    where = f"{shift.product or 'a product without a name'} at {shift.station}"
    st.html(
        marks.banner(
            f"Sampling of {where} is discontinued: {shift.reason}. Hold its accepted parts or judge each of them; "
            "resume once the cause is removed.",
            "bad",
        )
    )
    # A popover, so that nobody resumes by a slip of the hand.
    with st.popover(f"Resume {where}", icon=":material/play_arrow:"), st.form(f"resume-{shift.shift_id}", border=False):
        note = st.text_input(
            "What was the cause, and what removed it?", key=f"resume-note-{shift.shift_id}", max_chars=1000
        )
        if st.form_submit_button("Go on by samples, tightened"):
            _resume(view, shift, note.strip())


def _resume(view: Viewer, shift: AuditShift, note: str) -> None:
    if not note:
        frame.tell(view, "Not resumed: say what removed the cause.")
    else:
        try:
            view.feed.client.resume_audits(shift.shift_id, note=note, by=access.person() or "dashboard")
        except CentralError as error:
            frame.tell(view, f"Not resumed: {error}")
    view.feed.forget()
    st.rerun()
