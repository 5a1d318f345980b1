# SPDX-License-Identifier: Apache-2.0
"""What every page shares: heading, banner, section titles, empty states, and the words for a missing central.

Draws with Streamlit, fetches only the health of central. Called by every page.
"""

from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Final

import streamlit as st

from dashboard import marks, words
from dashboard.access import Viewer
from dashboard.client import NotAllowedError, UnexpectedAnswerError, UnreachableError, WrongTokenError
from dashboard.feed import Reading

_TOLD: Final = "frame_told"
_TOLD_FOR: Final = timedelta(seconds=20)


@cache
def style() -> str:
    """The style sheet of our own pieces."""
    return Path(__file__).with_name("theme").joinpath("style.css").read_text(encoding="utf-8")


def heading(title: str, view: Viewer, *, is_simulated: bool, lead: str = "") -> None:
    """Page title with the SIMULATED badge and the clock the page uses."""
    when = f"{words.clock_time(view.now, view.zone)} · {words.zone_name(view.zone, view.now)}"
    under = f'<p class="sl-lead">{escape(lead)}</p>' if lead else ""
    st.html(
        f'<div class="sl-head"><h1>{escape(title)}</h1>{marks.simulated(is_simulated)}'
        f'<span class="sl-when">{escape(when)}</span></div>{under}'
    )


def section(title: str, *, note: str = "", is_simulated: bool = False) -> None:
    """A section title inside a page."""
    st.html(
        f'<div class="sl-h2"><h2>{escape(title)}</h2>{marks.simulated(is_simulated)}'
        f'<span class="sl-muted">{escape(note)}</span></div>'
    )


def banner(view: Viewer, readings: Iterable[Reading[Any]]) -> None:
    """Say what is wrong with the answers, once, above everything. Last known values stay below."""
    errors = [reading.error for reading in readings if reading.error is not None]
    if any(isinstance(error, WrongTokenError) for error in errors):
        st.rerun()
    away = next((error for error in errors if isinstance(error, UnreachableError)), None)
    if away is not None:
        st.html(marks.banner(_away(view, str(away)), "bad"))
    for error in {str(e): e for e in errors if not isinstance(e, UnreachableError)}.values():
        tone = "bad" if isinstance(error, UnexpectedAnswerError) else "warn"
        prefix = "Not allowed: " if isinstance(error, NotAllowedError) else ""
        st.html(marks.banner(prefix + str(error), tone))


def _away(view: Viewer, text: str) -> str:
    since = view.feed.last_answer_at
    if since is None:
        return f"{text} Nothing is known yet. Start central, or check the address; this page tries again by itself."
    return (
        f"{text} Showing the last known values of {words.clock_time(since, view.zone)} "
        f"({words.ago(since, view.now)}). Stations go on judging without central; this page tries again by itself."
    )


def tell(view: Viewer, text: str) -> None:
    """Say something about what the viewer just did; it stands for a while, through refreshes."""
    st.session_state[_TOLD] = (text, view.now)


def told(view: Viewer) -> None:
    """Show what was told, as long as it is news."""
    text, at = st.session_state.get(_TOLD, ("", None))
    if at is not None and view.now - at < _TOLD_FOR:
        st.html(marks.banner(text))
