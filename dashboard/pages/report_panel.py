# SPDX-License-Identifier: Apache-2.0
"""The shift report on the quality page: choose a shift, have central make it, take it away as PDF or CSV.

Makes nothing itself. Stands outside the part of the page that draws itself anew, so that nothing typed is lost.
"""

from collections.abc import Iterable
from datetime import tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard import frame
from dashboard.access import SESSION_PERSON, Viewer
from dashboard.client import CentralError

SHIFTS: Final = ("06:00", "14:00", "22:00")
_EVERYWHERE: Final = "All stations"
_MADE: Final = "quality_report"
_MIME: Final = {"pdf": "application/pdf", "csv": "text/csv"}


def draw(view: Viewer) -> None:
    """The controls, what central said no to, and the files once they are made."""
    zone = zone_name(view.zone)
    frame.section("Shift report", note=f"to be signed; shifts by the clock of {zone}")
    stations = view.feed.get("stations", lambda central: central.stations(), 10.0).or_else(())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        day = st.date_input("Day on which it begins", value=view.now.astimezone(view.zone).date(), key="report_day")
        shift = st.selectbox("Shift", SHIFTS, key="report_shift")
        at = st.selectbox("Where", (_EVERYWHERE, *places(station.station for station in stations)), key="report_at")
        is_asked = st.button("Make report", key="report_make", icon=":material/description:")
    if is_asked:
        query = {
            "day": str(day),
            "shift": shift,
            "at": None if at == _EVERYWHERE else at,
            "time_zone": zone,
            "by": st.session_state.get(SESSION_PERSON) or None,
        }
        try:
            made = {ending: view.feed.client.shift_report(ending, query) for ending in _MIME}
        except CentralError as error:
            st.session_state.pop(_MADE, None)
            st.error(f"No report: {error}")
        else:
            st.session_state[_MADE] = (f"shift_{day}_{shift.replace(':', '')}", made)
    if _MADE in st.session_state:
        name, made = st.session_state[_MADE]
        with st.container(horizontal=True):
            for ending, content in made.items():
                st.download_button(
                    f"{name}.{ending}",
                    content,
                    file_name=f"{name}.{ending}",
                    mime=_MIME[ending],
                    key=f"report_{ending}",
                    icon=":material/download:",
                )


def places(stations: Iterable[str]) -> tuple[str, ...]:
    """Sites, lines and stations of these addresses, each before what is within it."""
    found: set[str] = set()
    for address in stations:
        parts = address.split("/")
        found.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return tuple(sorted(found))


def zone_name(zone: tzinfo) -> str:
    """As the IANA database calls it; UTC for one that it does not know."""
    return zone.key if isinstance(zone, ZoneInfo) else "UTC"
