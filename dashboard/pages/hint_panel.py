# SPDX-License-Identifier: Apache-2.0
"""The hint without labels on the quality page: folded, marked, with what it assumes. Called by `pages.quality`."""

from html import escape

import streamlit as st

from dashboard import marks, words
from dashboard.access import Viewer
from dashboard.quality_shapes import EscapeHint

_HEAD = ("Station", "Product", "Expected among accepted", "By")


def draw(view: Viewer, minutes: int) -> None:
    """A table of hints below their assumption; nothing where there is none."""
    with st.expander("Hint from scores alone (not a measurement)", expanded=False):
        found = view.feed.get(("hints", minutes), lambda central: central.hints(minutes), 30.0).or_else(())
        if not found:
            st.html(marks.empty("No hint", "It needs parts in this period."))
            return
        st.html(f"<div>{marks.badge('HINT', 'warn')} {escape(found[0].assumption)}</div>")
        st.html(marks.table(_HEAD, (row(hint) for hint in found)))


def row(hint: EscapeHint) -> tuple[str, ...]:
    """One station and product as cells."""
    if hint.expected_share is None:
        said = f"{words.NOT_KNOWN}: {hint.why or ''}"
    else:
        ends = f"{words.percent(hint.low)} to {words.percent(hint.high)} by the curve alone"
        said = f"about {words.percent(hint.expected_share)} of {words.count(hint.accepted)} accepted ({ends})"
    beyond = hint.beyond_calibration
    outside = f"; {words.percent(beyond)} of the scores are beyond what was audited" if beyond else ""
    by = f"{words.plural(hint.audits, 'audit')}, {words.count(hint.defective)} defective{outside}"
    return (
        f"{escape(hint.station)} {marks.simulated(hint.is_simulated)}",
        escape(hint.product or "not known"),
        f"{marks.badge('HINT', 'warn')} {escape(said)}",
        escape(by),
    )
