# SPDX-License-Identifier: Apache-2.0
"""The limits of each wave as they stand: what its stations do now against what they did before, and how sure it is.

Central counts and decides; here is shown. Called by `rollouts`.
"""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

import streamlit as st

from dashboard import frame, marks, words
from dashboard.access import Viewer
from dashboard.lifecycle import RolloutLook

_HEAD = ("Wave", "Quantity", "Station", "With its package", "Before", "Most in a chunk", "Evidence against it", "")
_MOST_ROWS = 60


def draw(view: Viewer, looks: tuple[RolloutLook, ...]) -> None:
    """The newest look of each wave; the file of evidence has all of them."""
    frame.section("Limits from the stations' own past", note="looked at after every chunk of parts")
    newest = {look.wave: look for look in looks}
    if not newest:
        st.html(marks.empty("Not looked at yet", "No station has judged a chunk of parts with its package."))
        return
    rows = [row for look in newest.values() for row in _rows(look)]
    st.html(marks.table(_HEAD, rows[:_MOST_ROWS]))
    for look in newest.values():
        count = sum(each.wave == look.wave for each in looks)
        said = "; ".join(str(reason) for reason in look.evidence.get("reasons", ())) or "nothing against it"
        when = words.day_time(look.at, view.zone)
        text = f"Wave {look.wave + 1}: {said} ({words.plural(count, 'look')}, last at {when})"
        st.html(f'<div class="sl-below">{escape(text)}</div>')


def _rows(look: RolloutLook) -> Iterator[tuple[str, ...]]:
    quantities: dict[str, dict[str, Any]] = look.evidence.get("quantities", {})
    for name, told in quantities.items():
        for station, row in told.get("stations", {}).items():
            chunk = f"{row.get('chunk_most')} now, {row.get('past_chunk_most')} before"
            yield (
                str(look.wave + 1),
                escape(name),
                f"<b>{escape(station)}</b>",
                _share(row.get("hits"), row.get("parts")),
                _share(row.get("past_hits"), row.get("past_parts")),
                escape(chunk),
                _evidence(float(row.get("log_e_abort", 0.0)), told),
                marks.state("ERROR") if told.get("decision") == "ABORT" else "",
            )
        for station, why in told.get("without_limits", {}).items():
            yield (str(look.wave + 1), escape(name), f"<b>{escape(station)}</b>", "", "no limits", "", escape(why), "")


def _share(hits: Any, parts: Any) -> str:
    if not parts:
        return "no part"
    return f"{words.count(int(hits))} of {words.count(int(parts))} ({int(hits) / int(parts):.1%})"


def _evidence(log_e: float, told: dict[str, Any]) -> str:
    """E-values: 1 says nothing, and at the limit of its quantity the wave goes back."""
    here, together = math.exp(min(log_e, 99.0)), math.exp(min(float(told["log_e_abort"]), 99.0))
    return f"{here:.3g} here, {together:.3g} of {math.exp(float(told['log_e_needed'])):.0f} in the wave"
