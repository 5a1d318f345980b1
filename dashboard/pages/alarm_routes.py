# SPDX-License-Identifier: Apache-2.0
"""Alarm routes: whom alarms reach, by what, when, and whether that works; make, change, test and end them.

Central checks what is set and says what it expected; here it is only asked for. A new route is made in a form of the
usual fields; everything a route may say is changed as the JSON that the API takes. Called by `app`.
"""

import json
from collections.abc import Callable
from html import escape
from typing import Any, Final

import streamlit as st

from contracts.vocabulary import AlarmSeverity, RouteKind
from dashboard import access, frame, marks, words
from dashboard.access import Viewer, viewer
from dashboard.alarm_route_shapes import AlarmRoute
from dashboard.client import CentralError

KIND_WORD: Final = {RouteKind.EMAIL: "E-mail", RouteKind.WEBHOOK: "Webhook", RouteKind.MQTT: "MQTT"}
_NEVER: Final = "nothing"
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def page() -> None:
    """Draw the page. It does not refresh by itself: people write here."""
    view = viewer()
    reading = view.feed.get("alarm-routes", lambda central: central.alarm_routes(), 2.0)
    routes = reading.or_else(())
    lead = "Whom alarms reach when nobody looks at this screen. Setting routes needs an administrator's token."
    frame.heading("Alarm routes", view, is_simulated=False, lead=lead)
    frame.banner(view, (reading,))
    frame.told(view)
    if not routes and reading.value is not None:
        st.html(marks.empty("No route", "Alarms stand on the page Alarms alone. Make a route below."))
    for item in routes:
        _card(view, item)
    frame.section("New route")
    _new(view)


def card(view: Viewer, item: AlarmRoute) -> str:
    """A route as a card: where to, which alarms, when, and how it goes."""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _facts(view, item))
    kind = KIND_WORD.get(item.route.get("kind", ""), str(item.route.get("kind", "")))
    trouble = f"<div><b>Last error:</b> {escape(item.last_error)}</div>" if item.last_error else ""
    return (
        f'<div class="sl-card sl-edge-{"bad" if item.is_failing else "idle"}"><div class="sl-station">'
        f"<b>{escape(item.name)}</b>{escape(kind)} {_state(item)}"
        f'<span class="sl-right">set by {escape(item.changed_by)}, {escape(words.day_time(item.changed_at, view.zone))}'
        f": {escape(item.note)}</span></div>"
        f'<div>{escape(_target(item.route))}</div>{trouble}<dl class="sl-facts">{facts}</dl></div>'
    )


def _state(item: AlarmRoute) -> str:
    if not item.route.get("is_enabled", True):
        return marks.badge("switched off", "idle")
    if item.is_failing:
        return marks.badge("failing", "bad")
    # Nothing has gone over it: nobody knows whether it works.
    return marks.badge("works", "good") if item.last_sent_at else marks.badge("not used yet", "idle")


def _days(each: dict[str, Any]) -> str:
    return "every day" if set(each["days"]) == set(DAYS) else ", ".join(each["days"])


def _target(route: dict[str, Any]) -> str:
    target = route.get("target", {})
    if route.get("kind") == RouteKind.EMAIL:
        return ", ".join(target.get("addresses", ()))
    if route.get("kind") == RouteKind.WEBHOOK:
        return f"{target.get('url', '')} {'signed' if target.get('key') else 'unsigned'}"
    return "retained" if target.get("is_retained") else "not retained"


def _facts(view: Viewer, item: AlarmRoute) -> list[tuple[str, str]]:
    route, passing = item.route, item.route.get("filter", {})
    listed = [*passing.get("kinds", ()), *passing.get("stations", ()), *passing.get("products", ())]
    parts = [name for name, key in (("real", "is_real"), ("simulated", "is_simulated")) if passing.get(key)]
    quiet = "; ".join(f"{_days(each)} {each['begins']} to {each['ends']}" for each in route.get("quiet", ()))
    sent = words.NOT_KNOWN if item.last_sent_at is None else words.day_time(item.last_sent_at, view.zone)
    facts = [
        ("alarms", ", ".join(map(str, listed)) or "all"),
        ("parts", " and ".join(parts)),
        ("from", str(passing.get("least_severity", ""))),
        ("quiet", f"{quiet} ({route.get('time_zone')})" if quiet else "never"),
        ("last sent", sent),
        ("held until quiet ends", str(item.held)),
        ("waiting", str(item.waiting)),
    ]
    if quiet:
        facts.insert(4, ("breaks through", f"from {through}" if (through := route.get("break_through")) else _NEVER))
    if item.failing_since is not None:
        facts.append(("failing since", words.day_time(item.failing_since, view.zone)))
    if item.unsaid:
        facts.append(("never went out", f"{item.unsaid} events"))
    return facts


def _card(view: Viewer, item: AlarmRoute) -> None:
    st.html(card(view, item))
    client, by = view.feed.client, access.person() or "dashboard"
    with st.container(horizontal=True):
        if st.button("Send a test", key=f"test-{item.name}", icon=":material/send:"):
            _act(view, lambda: client.test_alarm_route(item.name, by=by).text, f"{item.name} was not tested")
        with st.popover("Change", icon=":material/edit:"):
            text = st.text_area("As JSON", json.dumps(item.route, indent=1), height=420, key=f"json-{item.name}")
            note = st.text_input("Why", key=f"why-{item.name}")
            if st.button("Save", key=f"save-{item.name}", type="primary"):
                _save(view, item.name, text, note)
        with st.popover("End", icon=":material/delete:"):
            st.markdown("What is still on its way over this route is dropped. The alarms stay.")
            if st.button("End this route", key=f"end-{item.name}"):
                _act(view, lambda: _end(view, item.name), f"{item.name} was not ended")


def _end(view: Viewer, name: str) -> str:
    view.feed.client.end_alarm_route(name)
    return f"The route {name} has ended."


def _save(view: Viewer, name: str, text: str, note: str) -> None:
    try:
        route = json.loads(text)
    except ValueError as error:
        st.error(f"This is no JSON: {error}")
        return
    _act(view, lambda: _set(view, name, route, note), f"{name} was not changed")


def _set(view: Viewer, name: str, route: dict[str, Any], note: str) -> str:
    view.feed.client.set_alarm_route(name, route, note=note, by=access.person() or "dashboard")
    return f"The route {name} is set. Send a test."


def _new(view: Viewer) -> None:
    # Not in a form: which fields there are depends on the kind.
    kind = st.selectbox("By", list(RouteKind), format_func=KIND_WORD.__getitem__, key="new-kind")
    name = st.text_input("Name", key="new-name", max_chars=63, placeholder="night-shift")
    target = _new_target(kind or RouteKind.EMAIL)
    severity = st.selectbox("From this severity on", list(AlarmSeverity), key="new-severity")
    simulated = st.checkbox("Alarms of simulated parts, too", key="new-simulated")
    zone = st.text_input("Time zone", "UTC", key="new-zone", placeholder="Europe/Berlin")
    is_quiet = st.checkbox("Quiet hours every day", key="new-quiet")
    quiet = []
    through: str = AlarmSeverity.CRITICAL
    if is_quiet:
        begins = st.text_input("From", "22:00", key="new-begins")
        ends = st.text_input("To", "06:00", key="new-ends")
        quiet = [{"begins": begins, "ends": ends}]
        offered: list[str] = [*AlarmSeverity, _NEVER]
        through = st.selectbox("What goes out all the same, from", offered, index=2, key="new-through") or _NEVER
    reminders = st.number_input("Reminders at most, one an hour", 0, 100, 0, key="new-reminders")
    note = st.text_input("Why", key="new-note")
    if not st.button("Make this route", key="new-make", type="primary", disabled=not name.strip()):
        return
    route = {
        "kind": kind,
        "target": target,
        "filter": {"least_severity": severity, "is_simulated": simulated},
        "time_zone": zone.strip(),
        "quiet": quiet,
        "break_through": None if through == _NEVER else through,
        "reminders": {"most": int(reminders)},
    }
    _act(view, lambda: _set(view, name.strip(), route, note), "The route was not made")


def _new_target(kind: RouteKind) -> dict[str, object]:
    if kind is RouteKind.EMAIL:
        said = st.text_input("Addresses, with blanks between them", key="new-addresses")
        return {"addresses": said.replace(",", " ").split()}
    if kind is RouteKind.WEBHOOK:
        url = st.text_input("Address", key="new-url", placeholder="https://")
        key = st.text_input("Signed by which key of central's settings; empty: not signed", key="new-key")
        return {"url": url.strip(), "key": key.strip()}
    return {"is_retained": st.checkbox("Retained: who comes later sees the last message", key="new-retained")}


def _act(view: Viewer, act: Callable[[], str], refused: str) -> None:
    try:
        frame.tell(view, act())
    except CentralError as error:
        frame.tell(view, f"{refused}: {error}")
    view.feed.forget()
    st.rerun()
