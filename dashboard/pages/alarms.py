# SPDX-License-Identifier: Apache-2.0
"""Alarms: what a chart or a watch saw, what to do about it, who took it on.

Central decides when an alarm is raised; here people acknowledge and close. Called by `app`.
"""

from html import escape
from typing import Any, Final

import streamlit as st

from contracts.vocabulary import AlarmKind, AlarmState
from dashboard import access, frame, marks, palette, panels, words
from dashboard.access import Viewer, viewer
from dashboard.client import CentralError
from dashboard.pages.causes import CAUSE_WORD, cause_word, likeliest, suggested
from dashboard.shapes import Alarm

MAX_CLOSED = 20
KIND_WORD: Final[dict[AlarmKind, str]] = {
    AlarmKind.ESCAPES: "Escapes",
    AlarmKind.REJECT_RATE: "Reject rate",
    AlarmKind.IMAGE_SHIFT: "Image shift",
    AlarmKind.DRIFT: "Drift",
    AlarmKind.NOVELTY: "Novelty",
    AlarmKind.STATION_SILENT: "Station silent",
    AlarmKind.NOT_AS_ASSIGNED: "Station not as assigned",
    AlarmKind.SERVICE_FAILS: "Central fails",
    AlarmKind.ROLLOUT_WAITS: "Rollout waits",
    AlarmKind.ROLLOUT_FAILED: "Rollout went back",
    AlarmKind.GATE_ASKS: "Gate asks",
    AlarmKind.SAMPLING_DISCONTINUED: "Sampling discontinued",
}


def page() -> None:
    """Draw the page; the list refreshes by itself."""
    st.fragment(_draw, run_every=max(3.0, viewer().settings.refresh_s))()


def _draw() -> None:
    view = viewer()
    reading = view.feed.get("alarms", lambda central: central.alarms(), 2.0)
    alarms = reading.or_else(())
    still_open = panels.open_alarms(alarms)
    frame.heading("Alarms", view, is_simulated=any(item.is_simulated for item in alarms))
    frame.banner(view, (reading,))
    frame.told(view)
    if not still_open and reading.value is not None:
        st.html(
            marks.empty(
                "No open alarm",
                "Escapes, reject rate, pictures and silent stations are watched. Alarms appear here by themselves.",
            )
        )
    for item in still_open:
        _card(view, item)
    closed = [item for item in alarms if item.state is AlarmState.CLOSED][:MAX_CLOSED]
    if closed:
        frame.section("Closed", note=f"the last {len(closed)}")
        st.html(marks.table(("Alarm", "Where", "Raised", "Closed", "What was seen"), (_row(view, x) for x in closed)))


def _row(view: Viewer, item: Alarm) -> tuple[str, ...]:
    return (
        f"{KIND_WORD[item.kind]} {marks.simulated(item.is_simulated)}",
        escape(where(item)),
        escape(words.day_time(item.raised_at, view.zone)),
        escape(words.day_time(item.closed_at, view.zone) if item.closed_at else words.NOT_KNOWN),
        escape(item.message),
    )


def where(item: Alarm) -> str:
    """Station and product of an alarm, as far as it has them."""
    return " · ".join(part for part in (item.station, item.product) if part) or "whole site"


def card(view: Viewer, item: Alarm) -> str:
    """An alarm as a card: what, where, since when, what to do."""
    taken = f" · taken on by {item.acknowledged_by}" if item.acknowledged_by else ""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _evidence(item.evidence))
    return (
        f'<div class="sl-card sl-edge-{palette.tone(item.state)}"><div class="sl-station">'
        f'<b>{KIND_WORD[item.kind]}</b> <span class="sl-muted">alarm {item.id}</span>'
        f"{marks.state(item.state)}{marks.simulated(item.is_simulated)}"
        f'<span class="sl-right">{escape(words.day_time(item.raised_at, view.zone))} '
        f"({words.ago(item.raised_at, view.now)}){escape(taken)}</span></div>"
        f'<div>{escape(item.message)}</div><div class="sl-below">{escape(where(item))}</div>'
        f'<div style="margin-top:.35rem"><b>What to do:</b> {escape(item.remedy)}</div>{suggested(item)}{_found(item)}'
        f'<dl class="sl-facts">{facts}</dl></div>'
    )


def _found(item: Alarm) -> str:
    """What a person found to be behind it."""
    if item.cause is None:
        return ""
    note = f": {item.cause_note}" if item.cause_note else ""
    said = f"{cause_word(item.cause)}, says {item.cause_by or words.NOT_KNOWN}{note}"
    return f'<div style="margin-top:.35rem"><b>Cause:</b> {escape(said)}</div>'


def _evidence(evidence: dict[str, Any]) -> list[tuple[str, str]]:
    """The plain figures of an alarm's evidence; nested things stay in central."""
    plain = [(name, value) for name, value in evidence.items() if isinstance(value, int | float | str)]
    return [
        (name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
        for name, value in plain[:6]
        if value != ""
    ]


def _card(view: Viewer, item: Alarm) -> None:
    st.html(card(view, item))
    with st.container(horizontal=True):
        if item.state is AlarmState.RAISED and st.button(
            "Take it on", key=f"acknowledge-{item.id}", icon=":material/back_hand:"
        ):
            _change(view, item, "acknowledge")
        # A popover, so that nobody says a cause by a slip of the hand.
        with st.popover("Say the cause", icon=":material/troubleshoot:"):
            _say_cause(view, item)
        if st.button("Close", key=f"close-{item.id}", icon=":material/check:"):
            _change(view, item, "close")


def _say_cause(view: Viewer, item: Alarm) -> None:
    with st.form(f"cause-{item.id}", border=False):
        offered = list(CAUSE_WORD)
        first = likeliest(item)
        index = offered.index(first) if first in offered else 0
        cause = st.selectbox("Cause", offered, index=index, format_func=cause_word, key=f"cause-of-{item.id}")
        note = st.text_input("Note", key=f"cause-note-{item.id}", max_chars=1000)
        if not st.form_submit_button("Confirm or correct"):
            return
    try:
        view.feed.client.say_cause(item.id, str(cause), note=note, by=access.person() or "dashboard")
    except CentralError as error:
        frame.tell(view, f"The cause was not stored: {error}")
    view.feed.forget()
    st.rerun()


def _change(view: Viewer, item: Alarm, action: str) -> None:
    try:
        view.feed.client.change_alarm(item.id, action, by=access.person() or "dashboard")
    except CentralError as error:
        frame.tell(view, f"The alarm was not changed: {error}")
    view.feed.forget()
    st.rerun()
