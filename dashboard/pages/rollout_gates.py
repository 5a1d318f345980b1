# SPDX-License-Identifier: Apache-2.0
"""What the gates of a rollout's waves in shadow said, and on which figures, as they stood at its last steps.

Reads the evidence that central stored with the step; decides nothing. A gate that this version does not know is shown
with its decision alone. Called by `rollouts`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import streamlit as st

from dashboard import frame, marks, words
from dashboard.lifecycle import RolloutStep

_DECISIONS: Final = {"PROMOTE": ("promote", "good"), "ABORT": ("abort", "bad"), "CONTINUE": ("not enough yet", "warn")}
Gate = Mapping[str, Any]


def draw(steps: Sequence[RolloutStep]) -> None:
    """A row for each gate of each wave that was in shadow; nothing where none was."""
    last: dict[int, Mapping[str, Gate]] = {}
    for step in steps:
        for index, told in step.evidence.get("gates", {}).items():
            last[int(index)] = told.get("gates", {})
    rows = [
        (
            escape("canary" if index == 0 else f"wave {index + 1}"),
            f"<b>{escape(name)}</b>",
            marks.badge(*_DECISIONS.get(str(gate.get("decision")), ("unknown", "idle"))),
            escape(_found(gate)),
            escape(_evidence(gate)),
        )
        for index, gates in sorted(last.items())
        for name, gate in gates.items()
    ]
    if rows:
        frame.section(
            "Gates in shadow", note="as they stood when the wave last moved; how sure each is of either answer, as ln e"
        )
        st.html(marks.table(("Wave", "Gate", "Says", "On these figures", "To abort, to promote (ln e)"), rows))


def _found(gate: Gate) -> str:
    """The figures of a gate in words."""
    found = {"discordance": _discordance, "margin": _margin, "latency": _latency, "control": _control}.get(
        str(gate.get("gate"))
    )
    try:
        return found(gate) if found is not None else ""
    except (KeyError, TypeError, ValueError):
        # Evidence of another version stays readable for ever, if only by its decision.
        return ""


def _discordance(gate: Gate) -> str:
    if not gate["labels"]:
        return "no labelled discordant part yet"
    low, high = words.percent(gate["share_low"]), words.percent(gate["share_high"])
    of = words.plural(gate["labels"], "labelled discordant part")
    return f"the new package right in {gate['challenger_right']} of {of} ({low} to {high})"


def _margin(gate: Gate) -> str:
    waiting = f", {gate['waiting']} wait for a label" if gate["waiting"] else ""
    return (
        f"alone right in {gate['challenger_right']}, alone wrong in {gate['champion_right']} of "
        f"{words.plural(gate['parts'], 'part')}{waiting}; may be worse by {words.percent(gate['margin'])}"
    )


def _latency(gate: Gate) -> str:
    return (
        f"above the champion's p99 of {words.milliseconds(gate['champion_p99_ms'])} in {gate['challenger_above']} of "
        f"{words.plural(gate['parts'], 'part')}, the champion itself in {gate['champion_above']}"
    )


def _control(gate: Gate) -> str:
    stations = (
        f"{name.rpartition('/')[2]} {now['hits']} of {now['parts']}, before {now['past_hits']} of {now['past_parts']}"
        for name, now in gate["stations"].items()
    )
    chunks = f"{words.plural(gate['chunks'], 'chunk')} of {words.plural(gate['parts_per_chunk'], 'part')}"
    return f"{'; '.join(stations)}; {chunks}"


def _evidence(gate: Gate) -> str:
    """How sure it is of either answer, and from where on it decides."""
    needed = gate.get("log_e_needed")
    if not isinstance(needed, int | float):
        return ""
    sides = [gate.get(name) for name in ("log_e_abort", "log_e_promote")]
    told = ", ".join("–" if not isinstance(each, int | float) else f"{each:.2f}" for each in sides)
    return f"{told} of {needed:.2f}"
