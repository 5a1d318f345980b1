# SPDX-License-Identifier: Apache-2.0
"""Quality: yield, escapes, overkill and defect classes by any grouping, with control charts of rejects.

Computes nothing: what central does not know is shown as not known. Called by `app`.
"""

from html import escape
from typing import Final

import streamlit as st

from dashboard import frame, marks, quality_charts, words
from dashboard.access import Viewer, viewer
from dashboard.feed import Reading
from dashboard.pages import hint_panel, report_panel
from dashboard.quality_shapes import Agreement, Amount, AttributeChart, Figures, GroupFigures, MemoryChart
from dashboard.shapes import Rate

GROUPS: Final = {
    "station": "Station",
    "product": "Product",
    "shift": "Shift",
    "package": "Package",
    "line": "Line",
    "site": "Site",
}
# Minutes, and minutes of a sample of the charts.
PERIODS: Final = {"8 h": (480, 10), "24 h": (1440, 30), "7 d": (10_080, 180), "30 d": (43_200, 720)}
KINDS: Final = {"p": "p chart", "cusum": "CUSUM", "ewma": "EWMA"}
MAX_CHARTS: Final = 6
_CUTS: Final = {
    "PACKAGE": "by audits since the last package change",
    "ALARM": "by audits since the last alarm on escapes",
}
_EVERY_S: Final = 15.0


def page() -> None:
    """Draw the page: controls once, figures and charts at leisure."""
    frame_view = viewer()
    st.session_state.setdefault("quality_period", "24 h")
    st.session_state.setdefault("quality_by", "station")
    st.session_state.setdefault("quality_kind", "p")
    st.fragment(_draw, run_every=max(_EVERY_S, frame_view.settings.refresh_s))()
    report_panel.draw(frame_view)


def _draw() -> None:
    view = viewer()
    by = st.session_state.get("quality_by") or "station"
    minutes, sample = PERIODS.get(st.session_state.get("quality_period") or "24 h", PERIODS["24 h"])
    figures = view.feed.get(("figures", by, minutes), lambda central: central.figures(by, minutes), 10.0)
    kind = st.session_state.get("quality_kind") or "p"
    drawn: Reading[tuple[AttributeChart, ...]] | Reading[tuple[MemoryChart, ...]]
    if kind == "p":
        drawn = view.feed.get(
            ("attribute-charts", by, minutes), lambda central: central.attribute_charts(by, minutes, sample), 10.0
        )
    else:
        drawn = view.feed.get(
            ("memory-charts", by, minutes, kind), lambda central: central.memory_charts(by, minutes, sample, kind), 10.0
        )
    known = figures.value
    groups = known.groups if known is not None else ()
    frame.heading("Quality", view, is_simulated=any(group.is_simulated for group in groups))
    frame.banner(view, (figures, drawn))
    _controls()
    if not groups:
        st.html(
            marks.empty(
                "No parts in this period",
                "Choose a longer period, or start a station: figures appear here by themselves.",
            )
        )
        return
    _table(view, known)
    hint_panel.draw(view, minutes)
    _charts(view, drawn.or_else(()), sample, kind)
    _pareto(groups)
    _inspectors(view.feed.get("agreement", lambda central: central.agreement(), 30.0).or_else(()))


def _controls() -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.segmented_control(
            "By",
            list(GROUPS),
            format_func=lambda option: GROUPS.get(option, option),
            key="quality_by",
            required=True,
            label_visibility="collapsed",
        )
        st.segmented_control("Period", list(PERIODS), key="quality_period", required=True, label_visibility="collapsed")


def _table(view: Viewer, figures: Figures | None) -> None:
    if figures is None:
        return
    since = words.day_time(figures.since, view.zone)
    frame.section("Figures", note=f"since {since}; 95 % intervals in brackets")
    head = ("Group", "Parts", "First-pass yield", "Rejected", "Escapes", "Overkill among rejected")
    st.html(marks.table(head, (row(group) for group in figures.groups)))


def row(group: GroupFigures) -> tuple[str, ...]:
    """One group as cells."""
    return (
        f"{escape(_name(group.group))} {marks.simulated(group.is_simulated)}",
        words.count(group.parts),
        f"{words.estimate(group.first_pass_yield)} {_between(words.interval(group.first_pass_yield))}",
        f"{words.estimate(group.reject_rate)} {_between(words.rests_on(group.reject_rate, 'parts'))}",
        f"{amount(group.escapes)} {_between(_CUTS.get(group.audits_since_cut or '', ''))}".strip(),
        f"{words.estimate(group.overkill)} {_between(words.rests_on(group.overkill, 'judged'))}",
    )


def amount(value: Amount) -> str:
    """A figure with its interval and unit; not known stays not known."""
    if value.estimate is None:
        return words.NOT_KNOWN
    ends = f"{words.count(round(value.low))} to {words.count(round(value.high))}"
    if value.count is not None and value.of is not None:
        ends += f", {words.count(value.count)} of {words.plural(value.of, 'audit')}{words.unsettled(value.unsettled)}"
    return f"{words.count(round(value.estimate))} {escape(value.unit)} {_between(ends)}"


def _between(text: str) -> str:
    return f'<span class="sl-muted">({escape(text)})</span>' if text else ""


def _name(group: str) -> str:
    # A package is named by a digest, of which the beginning is enough.
    return words.short(group) if len(group) == 64 else group or "none"


def _charts(view: Viewer, drawn: tuple[AttributeChart | MemoryChart, ...], sample: int, kind: str) -> None:
    frame.section("Rejects", note=f"{KINDS.get(kind, kind)}, samples of {sample} min; ◆ package change, ▲ alarm")
    st.segmented_control(
        "Chart",
        list(KINDS),
        format_func=lambda option: KINDS.get(option, option),
        key="quality_kind",
        required=True,
        label_visibility="collapsed",
        help="CUSUM and EWMA find small lasting shifts that a p chart does not show.",
    )
    if not drawn:
        st.html(marks.empty("No chart yet", "A chart needs 20 samples to learn its limits from."))
    for index, chart in enumerate(drawn[:MAX_CHARTS]):
        badge, said = marks.simulated(chart.is_simulated), f'<span class="sl-muted">{escape(_told(chart))}</span>'
        st.html(f"<div><b>{escape(_name(chart.group))}</b> {badge} {said}</div>")
        if isinstance(chart, AttributeChart):
            figure = quality_charts.attribute_chart(chart, view.zone)
        else:
            figure = quality_charts.memory_chart(chart, view.zone)
        st.plotly_chart(figure, key=f"attribute-{index}", config={"displayModeBar": False})
    if len(drawn) > MAX_CHARTS:
        st.caption(f"{MAX_CHARTS} of {len(drawn)} charts shown. Group by something with fewer members.")


def _told(chart: AttributeChart | MemoryChart) -> str:
    if isinstance(chart, AttributeChart):
        return f"{chart.kind} chart"
    against = f"{KINDS.get(chart.kind, chart.kind)} against {words.percent(chart.centre_line)} rejected in phase I"
    every = chart.samples_between_false_alarms
    return f"{against}, a false alarm in about {every:.0f} samples" if every else against


def _inspectors(agreement: tuple[Agreement, ...]) -> None:
    frame.section("Inspectors", note="by blind repeats of 30 days; 95 % intervals in brackets")
    if not agreement:
        st.html(marks.empty("No repeat was judged", "Some judged parts are shown again, nobody can tell which."))
    for each in agreement:
        head = ("First", "Again", "Differ")
        rows = ((escape(pair.first), escape(pair.second), _share(pair.differ, "repeats")) for pair in each.pairs)
        st.html(f"{marks.simulated(each.is_simulated)}{marks.table(head, rows)}")
        wrong, refuted = _share(each.error_rate, "differ"), _share(each.refuted, "asked for")
        st.html(f"<div>One answer is wrong in {wrong}. Second answers that said otherwise: {refuted}.</div>")


def _share(rate: Rate, what: str) -> str:
    ends = words.interval(rate)
    return f"{words.estimate(rate)} {_between(f'{ends}; {words.rests_on(rate, what)}' if ends else '')}".strip()


def _pareto(groups: tuple[GroupFigures, ...]) -> None:
    named = [group for group in groups if group.pareto]
    frame.section("Defect classes", note="as people named them in audits")
    if not named:
        st.html(marks.empty("No defective part was judged", "Classes appear here once people judge audits."))
    for index, group in enumerate(named[:MAX_CHARTS]):
        st.html(f"<div><b>{escape(_name(group.group))}</b> {marks.simulated(group.is_simulated)}</div>")
        st.plotly_chart(quality_charts.pareto(group.pareto), key=f"pareto-{index}", config={"displayModeBar": False})
