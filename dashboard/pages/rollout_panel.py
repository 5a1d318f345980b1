# SPDX-License-Identifier: Apache-2.0
"""One rollout with what a person may do about it: pause, resume, approve, set a station aside, abort.

Central decides and checks the token; here is asked and told. Called by the pages on packages and on rollouts.
"""

from html import escape

import streamlit as st

from contracts.vocabulary import RolloutState, WaveState
from dashboard import access, frame, words
from dashboard.access import Viewer
from dashboard.client import CentralError
from dashboard.lifecycle import Rollout
from dashboard.pages import stepper

_ACTIONS = {
    RolloutState.READY: ("abort",),
    RolloutState.RUNNING: ("pause", "abort"),
    RolloutState.PAUSED: ("resume", "abort"),
    RolloutState.WAITING_FOR_APPROVAL: ("approve", "abort"),
}
_ICONS = {"pause": ":material/pause:", "resume": ":material/play_arrow:", "approve": ":material/check:"}
_HELP = {
    "pause": "No further station changes. Needs an engineer's token.",
    "resume": "Go on with the next station. Needs an engineer's token.",
    "approve": "Let the next wave begin. Needs an engineer's token.",
}
_HOLD_UP = frozenset({"SHADOW", "ASSIGNED", "BAKING", "AWAY"})


def draw(view: Viewer, item: Rollout) -> None:
    """Steps, what it waits for, buttons."""
    st.html(stepper.rollout(item, view.zone, view.now))
    if item.waits_for:
        waits = "".join(f"<li>{escape(each)}</li>" for each in item.waits_for)
        st.html(f'<div class="sl-below">Waits for<ul>{waits}</ul></div>')
    _buttons(view, item)


def _buttons(view: Viewer, item: Rollout) -> None:
    with st.container(horizontal=True):
        for action in _ACTIONS.get(item.state, ()):
            if action == "abort":
                _abort(view, item)
                continue
            wave = _waiting(item) if action == "approve" else None
            word = action.capitalize() if wave is None else f"Approve wave {wave}"
            if st.button(word, key=f"rollout-{item.id}-{action}", icon=_ICONS[action], help=_HELP[action]):
                _change(view, item, action, wave)
        if item.state in (RolloutState.RUNNING, RolloutState.PAUSED):
            _set_aside(view, item)


def _waiting(item: Rollout) -> int | None:
    """The wave that waits for an approval, as the page shows it: a later one is another question."""
    return next((wave.index + 1 for wave in item.waves if wave.state is WaveState.SCHEDULED), None)


def _abort(view: Viewer, item: Rollout) -> None:
    with st.popover("Abort", icon=":material/undo:"):
        st.markdown(
            "Every station that this rollout touched is assigned again what it ran before: "
            f"{_before(item)}. Needs an engineer's token."
        )
        if st.button("Abort this rollout", key=f"rollout-{item.id}-abort", type="primary"):
            _change(view, item, "abort")


def _before(item: Rollout) -> str:
    named = [f"package {words.short(each)}" if each else "no package" for each in stepper.before(item)]
    return " or ".join(named) or "it has touched none yet"


def _set_aside(view: Viewer, item: Rollout) -> None:
    running = [wave for wave in item.waves if wave.state is WaveState.RUNNING]
    names = [each.station for wave in running for each in wave.stations if each.progress in _HOLD_UP]
    if not names:
        return
    with st.popover("Set a station aside", icon=":material/directions_run:"):
        st.markdown(
            "The rollout goes on without it. It gets its previous package again, and catches up once this one is "
            "for all: after a rollout to some stations it keeps the previous one. Needs an engineer's token."
        )
        name = st.selectbox("Station", names, key=f"rollout-{item.id}-aside-name") or names[0]
        if st.button("Go on without it", key=f"rollout-{item.id}-aside", type="primary"):
            try:
                view.feed.client.set_station_aside(item.id, name, by=access.person() or "dashboard")
            except CentralError as error:
                frame.tell(view, f"The station was not set aside: {error}")
            view.feed.forget()
            st.rerun()


def _change(view: Viewer, item: Rollout, action: str, wave: int | None = None) -> None:
    try:
        view.feed.client.change_rollout(item.id, action, by=access.person() or "dashboard", wave=wave)
    except CentralError as error:
        frame.tell(view, f"The rollout was not changed: {error}")
    view.feed.forget()
    st.rerun()
