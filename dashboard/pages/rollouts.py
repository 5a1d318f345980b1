# SPDX-License-Identifier: Apache-2.0
"""Rollouts: one of them with every step and what it rested on, its parts, the freezes and the policies.

Central decides; here people read, take the evidence with them and set freezes. Called by `app`.
"""

from datetime import datetime, time, timedelta
from html import escape
from typing import Any

import streamlit as st

from contracts.vocabulary import Verdict
from dashboard import access, frame, marks, words
from dashboard.access import Viewer, viewer
from dashboard.client import CentralError
from dashboard.lifecycle import Exposure, Freeze, Rollout, RolloutStep
from dashboard.pages import limits_panel, policy_panel, quarantine_panel, rollout_gates, rollout_panel

MAX_ROLLOUTS = 100
MAX_STEPS = 200


def page() -> None:
    """Draw the page: the rollout refreshes by itself, what a person is writing does not."""
    view = viewer()
    rollouts = view.feed.get("rollouts", lambda central: central.rollouts(), 2.0)
    freezes = view.feed.get("freezes", lambda central: central.freezes(), 2.0)
    policies = view.feed.get("rollout-policies", lambda central: central.rollout_policies(), 5.0)
    stations = view.feed.get("stations", lambda central: central.stations(), 1.0)
    simulated = any(item.is_simulated for item in stations.or_else(()))
    frame.heading("Rollout evidence", view, is_simulated=simulated)
    frame.banner(view, (rollouts, freezes, policies))
    frame.told(view)
    known = rollouts.or_else(())[:MAX_ROLLOUTS]
    if known:
        titles = {item.id: _title(item, view) for item in known}
        chosen = st.selectbox("Rollout", list(titles), format_func=lambda key: titles[key], key="rollout_id")
        st.fragment(_one, run_every=max(3.0, view.settings.refresh_s))(chosen or known[0].id)
    else:
        st.html(
            marks.empty(
                "No rollout yet",
                "A rollout starts by itself when the promotion gate passes a package, or by an engineer.",
            )
        )
    _freezes(view, freezes.or_else(()))
    policy_panel.draw(view, policies.or_else(()))


def _title(item: Rollout, view: Viewer) -> str:
    state = item.state.value.replace("_", " ").lower()
    return f"{item.id} · {item.product} · {state} · {words.day_time(item.created_at, view.zone)}"


def _one(rollout_id: int) -> None:
    view = viewer()
    reading = view.feed.get(("rollout-evidence", rollout_id), lambda central: central.rollout_evidence(rollout_id), 2.0)
    frame.banner(view, (reading,))
    evidence = reading.value
    if evidence is None:
        return
    rollout_panel.draw(view, evidence.rollout)
    shown = "What its package showed before any station saw it"
    st.html(f'<div class="sl-below"><a href="gate?package={escape(evidence.rollout.package_id)}">{shown}</a></div>')
    rollout_gates.draw(evidence.steps)
    limits_panel.draw(view, evidence.looks)
    _exposure(view, evidence.exposure)
    quarantine_panel.draw(view, evidence)
    _steps(view, evidence.steps)


def _exposure(view: Viewer, exposure: Exposure) -> None:
    frame.section("Parts judged by its package", note="from its assignment on; escapes hide among those that it passed")
    if not exposure.stations:
        st.html(marks.empty("No part yet", "Its package has not judged a part since it was assigned."))
        return
    head = ("Station", "Parts", "OK", "NG", "Review", "No decision", "From", "To")
    rows = (
        (
            f"<b>{escape(each.station)}</b>",
            words.count(sum(each.verdicts.values())),
            *(
                words.count(each.verdicts.get(verdict, 0))
                for verdict in (Verdict.OK, Verdict.NG, Verdict.REVIEW, Verdict.NO_DECISION)
            ),
            escape(words.day_time(each.first_at, view.zone)),
            escape(words.day_time(each.last_at, view.zone)),
        )
        for each in exposure.stations
    )
    st.html(marks.table(head, rows))


def _steps(view: Viewer, steps: tuple[RolloutStep, ...]) -> None:
    frame.section("Every step and what it rested on", note="newest first")
    head = ("When", "What", "Station", "From", "To", "Why", "Facts")
    rows = [row for step in reversed(steps[-MAX_STEPS:]) for row in _step_rows(view, step)]
    st.html(marks.table(head, rows) if rows else marks.empty("No step yet", "It has not begun."))


def _step_rows(view: Viewer, step: RolloutStep) -> list[tuple[str, ...]]:
    when = escape(words.day_time(step.at, view.zone))
    said = "<br>".join(escape(line.split(" ", 1)[-1]) for line in step.lines)
    stations: dict[str, dict[str, Any]] = step.evidence.get("stations", {})
    if not stations:
        return [(when, said, "", "", "", "", "")]
    rows: list[tuple[str, ...]] = []
    for index, (name, moved) in enumerate(stations.items()):
        first = (when, said) if index == 0 else ("", "")
        seen = moved.get("seen") or {}
        facts = ", ".join(_fact(view, key, value) for key, value in seen.items() if value not in (None, 0))
        rows.append(
            (
                *first,
                f'<b style="white-space:nowrap">{escape(name)}</b>',
                marks.state(str(moved.get("before", ""))),
                marks.state(str(moved.get("after", ""))),
                escape(str(moved.get("why", ""))),
                f'<span class="sl-below">{escape(facts)}</span>',
            )
        )
    return rows


def _fact(view: Viewer, key: str, value: object) -> str:
    """One fact as people read it: times in the shown zone, shares as per cent."""
    told = str(value)
    if isinstance(value, float):
        told = words.percent(value)
    elif key.endswith(("_at", "_until")):
        try:
            told = words.clock_time(datetime.fromisoformat(told), view.zone)
        except ValueError:
            # A word of a later version: as it came.
            told = str(value)
    return f"{key.replace('_', ' ')} {told}"


def _freezes(view: Viewer, freezes: tuple[Freeze, ...]) -> None:
    frame.section("Freezes", note="while one holds, nobody of its site gets another package; going back is never held")
    for item in freezes:
        with st.container(horizontal=True, vertical_alignment="center"):
            mark = marks.badge("holds now", "warn") if item.is_in_force else marks.badge("to come", "busy")
            span = f"{words.day_time(item.begins, view.zone)} to {words.day_time(item.ends, view.zone)}"
            st.html(
                f"<b>{escape(item.site or 'every site')}</b> {mark} {escape(span)}"
                f'<div class="sl-below">{escape(item.reason)} ({escape(item.made_by)})</div>'
            )
            if st.button("Lift", key=f"freeze-{item.id}-lift", help="Ends it now. Needs an engineer's token."):
                _lift(view, item)
    if not freezes:
        st.html('<div class="sl-below">None.</div>')
    with st.popover("New freeze", icon=":material/ac_unit:"):
        _form(view)


def _lift(view: Viewer, item: Freeze) -> None:
    try:
        view.feed.client.lift_freeze(item.id, by=access.person() or "dashboard")
    except CentralError as error:
        frame.tell(view, f"The freeze was not lifted: {error}")
    view.feed.forget()
    st.rerun()


def _form(view: Viewer) -> None:
    today = view.now.astimezone(view.zone).date()
    with st.form("new-freeze", border=False):
        site = st.text_input("Site", placeholder="empty: every site", key="freeze-site")
        first = st.date_input("From the beginning of", today, key="freeze-first")
        last = st.date_input("To the end of", today + timedelta(days=1), key="freeze-last")
        reason = st.text_input("Reason", key="freeze-reason")
        if not st.form_submit_button("Freeze", type="primary"):
            return
    begins = datetime.combine(first, time(), view.zone)
    ends = datetime.combine(last, time(), view.zone) + timedelta(days=1)
    body = {
        "site": site.strip() or None,
        "begins": begins.isoformat(),
        "ends": ends.isoformat(),
        "reason": reason,
        "by": access.person() or "dashboard",
    }
    try:
        view.feed.client.make_freeze(body)
    except CentralError as error:
        frame.tell(view, f"No freeze was made: {error}")
    view.feed.forget()
    st.rerun()
