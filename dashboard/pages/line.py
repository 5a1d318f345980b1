# SPDX-License-Identifier: Apache-2.0
"""Live line: every verdict as it falls, rates with their intervals, the last NG part, what changed over time.

Computes no rate itself: what central does not know is shown as not known. Called by `app`.
"""

from html import escape

import streamlit as st

from contracts.vocabulary import EvidenceKind, Verdict
from dashboard import charts, frame, marks, panels, pictures, words
from dashboard.access import Viewer, viewer
from dashboard.feed import Reading
from dashboard.shapes import Alarm, Bucket, Chart, Inspection, Rates, Station

MAX_STATIONS = 8
STRIP_CELLS = 60
MAX_CHARTS = 8
# Redrawing figures costs a browser more than everything else here, and minutes change slowly.
CHARTS_EVERY_S = 10.0
PERIODS = {"15 min": 15, "1 h": 60, "8 h": 480, "24 h": 1440}


def page() -> None:
    """Draw the page: controls once, verdicts often, charts at leisure."""
    st.session_state.setdefault("line_period", "1 h")
    view = viewer()
    stations = _stations(view).or_else(())
    st.fragment(_heading, run_every=view.settings.refresh_s)()
    scope = _controls(stations) if stations else "all"
    st.fragment(_verdicts, run_every=view.settings.refresh_s)(scope, tuple(item.station for item in stations))
    if stations:
        st.fragment(_charts, run_every=max(CHARTS_EVERY_S, view.settings.refresh_s))(scope)


def _stations(view: Viewer) -> Reading[tuple[Station, ...]]:
    return view.feed.get("stations", lambda central: central.stations(), 1.0)


def _heading() -> None:
    view = viewer()
    known = _stations(view).or_else(())
    frame.heading("Live line", view, is_simulated=any(item.is_simulated for item in known))


def _minutes() -> int:
    return PERIODS.get(st.session_state.get("line_period") or "1 h", 60)


def _alarms(view: Viewer) -> Reading[tuple[Alarm, ...]]:
    return view.feed.get("alarms", lambda central: central.alarms(), 3.0)


def _verdicts(scope: str, drawn: tuple[str, ...]) -> None:
    view = viewer()
    minutes = _minutes()
    stations = _stations(view)
    rates = view.feed.get(("rates", minutes), lambda central: central.rates(minutes), 2.0)
    known = stations.or_else(())
    if tuple(item.station for item in known) != drawn:
        # A station came or went: the controls above must know it too.
        st.rerun()
    frame.banner(view, (stations, rates))
    if not known:
        st.html(
            marks.empty(
                "No station has reported yet",
                "Start one with: sightline-edge run --settings station.toml. It appears here by itself.",
            )
        )
        return
    chosen = tuple(item for item in known if scope in {"all", item.station})
    _figures(rates.value, scope, chosen)
    strips, last = st.columns([2.1, 1], gap="medium")
    with strips:
        _strips(view, chosen)
    with last:
        _last_ng(view, None if scope == "all" else scope)


def _charts(scope: str) -> None:
    view = viewer()
    _timeline(view, _minutes(), scope, _alarms(view).or_else(()))
    _control_charts(view, scope)


def _controls(stations: tuple[Station, ...]) -> str:
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        names = {"all": "All stations", **{item.station: item.name for item in stations}}
        scope = st.segmented_control(
            "Station",
            list(names),
            default="all",
            format_func=lambda option: names.get(option, option),
            key="line_scope",
            required=True,
            label_visibility="collapsed",
        )
        st.segmented_control("Period", list(PERIODS), key="line_period", required=True, label_visibility="collapsed")
    return scope or "all"


def _figures(rates: Rates | None, scope: str, stations: tuple[Station, ...]) -> None:
    speeds = [item.status.parts_per_minute for item in stations if item.status and item.status.is_connected]
    known = [speed for speed in speeds if speed is not None]
    speed = marks.figure(
        "Parts per minute",
        f"{sum(known):.0f}" if known else words.NOT_KNOWN,
        "parts/min" if known else "",
        below=(f"{words.plural(len(known), 'station')} reporting",),
    )
    rows = panels.pick_rates(rates, scope)
    if not rows:
        unknown = marks.figure("Reject rate", words.NOT_KNOWN, below=("No parts in this period.",))
        st.html(marks.tiles((speed, unknown)))
    for index, row in enumerate(rows):
        frame.section(panels.product_name(row.product), is_simulated=row.is_simulated)
        st.html(marks.tiles((*((speed,) if index == 0 else ()), *panels.rate_tiles(row))))
        since = panels.audits_since(row, viewer())
        if since:
            st.html(f'<div class="sl-below">{escape(since)}</div>')


def _strips(view: Viewer, stations: tuple[Station, ...]) -> None:
    frame.section("Last verdicts", note=f"last {STRIP_CELLS} parts of each station, newest right")
    st.html(marks.legend())
    for item in stations[:MAX_STATIONS]:
        parts = _parts_of(view, item.station)
        st.html(
            f'<div class="sl-card">{panels.station_head(item, view)}{marks.strip(parts, view.zone, STRIP_CELLS)}</div>'
        )
    if len(stations) > MAX_STATIONS:
        st.caption(f"{MAX_STATIONS} of {len(stations)} stations shown. Choose one above to see it.")


def _parts_of(view: Viewer, station: str) -> tuple[Inspection, ...]:
    return view.feed.get(
        ("parts", station), lambda central: central.inspections(station=station, limit=STRIP_CELLS), 1.0
    ).or_else(())


def _last_ng(view: Viewer, station: str | None) -> None:
    frame.section("Last NG part")
    reading = view.feed.get(
        ("ng", station), lambda central: central.inspections(station=station, verdict=Verdict.NG, limit=8), 1.5
    )
    parts = reading.or_else(())
    if not parts:
        st.html(marks.empty("No part was judged NG", "When one is, its picture and heatmap appear here."))
        return
    part = _pictured(view, station, parts) or parts[0]
    st.html(f'<div class="sl-card">{_pictures_of(view, part)}{_facts(view, part)}</div>')


def _pictured(view: Viewer, station: str | None, parts: tuple[Inspection, ...]) -> Inspection | None:
    """The newest NG part that has its pictures: those of the very newest may still be on their way."""
    whole = next((item for item in parts if item.picture(EvidenceKind.HEATMAP)), None)
    if whole is not None:
        return whole
    older = view.feed.get(
        ("ng-older", station), lambda central: central.inspections(station=station, verdict=Verdict.NG, limit=400), 30.0
    )
    for kind in (EvidenceKind.HEATMAP, EvidenceKind.CROP):
        found = next((item for item in older.or_else(()) if item.picture(kind)), None)
        if found is not None:
            return found
    return None


def _pictures_of(view: Viewer, part: Inspection) -> str:
    crop, heat = part.picture(EvidenceKind.CROP), part.picture(EvidenceKind.HEATMAP)
    shown = None if crop is None else view.feed.picture(crop.sha256)
    if shown is None:
        return marks.empty("Picture on its way", "The station uploads it after the report, at lower priority.")
    mixed = None if crop is None or heat is None else panels.overlay_of(view, crop, heat)
    second = (
        '<figure><div class="sl-empty">No heatmap</div></figure>'
        if mixed is None
        else f'<figure><img alt="heatmap" src="{pictures.as_url(mixed)}">'
        "<figcaption>where it looks wrong</figcaption></figure>"
    )
    return (
        f'<div class="sl-pictures"><figure><img alt="part" src="{pictures.as_url(shown)}">'
        f"<figcaption>as the model saw it</figcaption></figure>{second}</div>"
    )


def _facts(view: Viewer, part: Inspection) -> str:
    limit = "" if part.ng_limit is None else f" (NG from {part.ng_limit:.3g})"
    rows = [
        ("Verdict", marks.verdict(part.verdict) + " " + marks.simulated(part.is_simulated)),
        ("Score", escape(words.NOT_KNOWN if part.score is None else f"{part.score:.3g}{limit}")),
        ("Looks like", escape(part.defect_class or "class not known")),
        (
            "Captured",
            escape(f"{words.clock_time(part.captured_at, view.zone)} ({words.ago(part.captured_at, view.now)})")
            + _doubt(part),
        ),
        ("Station", escape(part.station)),
        ("Part", escape(part.part_id or f"trigger {part.trigger_number}")),
        ("Package", marks.package(part.package_id)),
    ]
    return f'<dl class="sl-facts">{"".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)}</dl>'


def _doubt(part: Inspection) -> str:
    doubt = words.clock_doubt(part.clock_error_s)
    return f'<div class="sl-below">{escape(doubt)}</div>' if doubt else ""


def _timeline(view: Viewer, minutes: int, scope: str, alarms: tuple[Alarm, ...]) -> None:
    station = None if scope == "all" else scope
    reading: Reading[tuple[Bucket, ...]] = view.feed.get(
        ("timeline", minutes, station), lambda central: central.timeline(minutes, station), 5.0
    )
    buckets = reading.or_else(())
    simulated = any(bucket.is_simulated for bucket in buckets)
    frame.section("Over time", note="◆ change of package · ▲ alarm", is_simulated=simulated)
    if not buckets:
        st.html(marks.empty("No parts in this period", "Choose a longer period above, or start the line."))
        return
    first = buckets[0].minute
    seen = tuple(item for item in alarms if item.raised_at >= first and item.station in {None, station or item.station})
    happened = (*charts.package_changes(buckets), *panels.alarm_marks(seen))
    st.plotly_chart(
        charts.timeline(buckets, happened, view.zone),
        key=f"timeline-{scope}-{minutes}",
        theme=None,
        config={"displayModeBar": False},
    )


def _control_charts(view: Viewer, scope: str) -> None:
    station = None if scope == "all" else scope
    reading: Reading[tuple[Chart, ...]] = view.feed.get(
        ("charts", station), lambda central: central.charts(station), 5.0
    )
    # What people found comes first: the other charts watch for causes.
    found = sorted(reading.or_else(()), key=lambda chart: chart.name != "escapes")
    frame.section("Control charts", note="✕ marks a signal: look for its cause")
    if not found:
        st.html(
            marks.empty(
                "No control chart yet", "Charts learn their limits from the first parts; let the line run a while."
            )
        )
        return
    columns = st.columns(2, gap="medium")
    for index, chart in enumerate(found[:MAX_CHARTS]):
        with columns[index % 2]:
            name = "all stations" if chart.station == "*" else chart.station.rsplit("/", maxsplit=1)[-1]
            where = f"{name} · {chart.product or 'all products'} · {charts.chart_note(chart)}"
            frame.section(charts.chart_title(chart), note=where, is_simulated=chart.is_simulated)
            st.plotly_chart(
                charts.control_chart(chart, view.zone),
                key=f"chart-{chart.name}-{chart.station}-{chart.product}-{chart.is_simulated}",
                theme=None,
                config={"displayModeBar": False},
            )
