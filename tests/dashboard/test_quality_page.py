# SPDX-License-Identifier: Apache-2.0
"""The quality page: figures with intervals, charts with their marks, and nothing made up where nobody judged."""

from datetime import UTC
from typing import Any

from dashboard import quality_charts, words
from dashboard.client import CentralClient
from dashboard.pages import hint_panel, quality, report_panel
from dashboard.quality_shapes import AttributeChart, Figures
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.learning_story import STATIONS
from tests.dashboard.stub_central import VIEWER, StubCentral


def _figures(central: StubCentral) -> Figures:
    with CentralClient(central.url, VIEWER) as client:
        return client.figures("station", 1440)


def _chart(central: StubCentral) -> AttributeChart:
    with CentralClient(central.url, VIEWER) as client:
        (chart,) = client.attribute_charts("station", 1440, 30)
    return chart


def test_figures_stand_with_intervals_and_denominators(opened: Opener) -> None:
    shown = texts(opened("quality"))
    assert STATIONS[0] in shown
    assert "1\u202f250 ppm of accepted parts" in shown
    assert "310 to 4\u202f800" in shown
    assert "120 of 2\u202f000 parts" in shown


def test_how_often_inspectors_differ_stands_with_its_denominator(opened: Opener) -> None:
    shown = texts(opened("quality"))
    assert "3 of 60 repeats" in shown
    assert "bert" in shown
    assert "5 of 9 asked for" in shown


def test_what_nobody_judged_is_not_known(central: StubCentral) -> None:
    judged, unjudged = _figures(central).groups
    assert words.NOT_KNOWN not in quality.row(judged)[4]
    assert quality.row(unjudged)[4] == words.NOT_KNOWN
    assert quality.row(unjudged)[5].startswith(words.NOT_KNOWN)


def test_grouping_is_asked_of_central(opened: Opener, central: StubCentral) -> None:
    app = opened("quality")
    groups: Any = app.get("button_group")
    (control,) = [each for each in groups if "Package" in each.options]
    control.set_value("package").run()
    assert "package" in central.grouped_by


def test_the_report_of_the_chosen_shift_is_made_and_offered(opened: Opener, central: StubCentral) -> None:
    app = opened("quality")
    app.selectbox(key="report_shift").set_value("22:00")
    app.selectbox(key="report_at").set_value(STATIONS[0])
    app.button(key="report_make").click().run()
    assert [(asked["shift"], asked["at"]) for asked in central.reports] == [("22:00", STATIONS[0])] * 2
    assert len(app.get("download_button")) == 2


def test_a_refused_report_says_why_and_offers_no_file(opened: Opener) -> None:
    app = opened("quality")
    app.button(key="report_make").click().run()
    assert app.get("download_button")
    app.selectbox(key="report_shift").set_value("14:00")
    app.button(key="report_make").click().run()
    assert "expected a period that has begun" in app.error[0].value
    assert not app.get("download_button")


def test_places_are_sites_lines_and_stations() -> None:
    assert report_panel.places(["a/b/c", "a/b/d"]) == ("a", "a/b", "a/b/c", "a/b/d")


def test_a_chart_shows_limits_signals_phase_and_marks(central: StubCentral) -> None:
    figure = quality_charts.attribute_chart(_chart(central), UTC)
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["upper limit"].y) == [0.15] * 40
    assert list(by_name["signal"].customdata) == ["outside exact limits"]
    said = [annotation.text for annotation in figure.layout.annotations]
    assert said == ["phase II", "◆", "▲"]
    assert figure.layout.annotations[2].hovertext.startswith("REJECT_RATE")


def test_the_pareto_has_the_most_frequent_class_first_and_ends_at_all(central: StubCentral) -> None:
    figure = quality_charts.pareto(_figures(central).groups[0].pareto)
    assert list(figure.data[0].y) == [9, 3]
    assert list(figure.data[1].y) == [75, 100]


def test_memory_charts_show_phase_ii_limits_signals_and_since_when(central: StubCentral) -> None:
    with CentralClient(central.url, VIEWER) as client:
        (cusum,) = client.memory_charts("station", 1440, 30, "cusum")
        (ewma,) = client.memory_charts("station", 1440, 30, "ewma")
    by_name = {trace.name: trace for trace in quality_charts.memory_chart(cusum, UTC).data}
    assert set(by_name) == {"upper limit", "lower limit", "more rejects", "fewer rejects", "signal"}
    assert (len(by_name["more rejects"].y), by_name["more rejects"].y[-1], by_name["fewer rejects"].y[-1]) == (
        20,
        10,
        -0.5,
    )
    assert (len(by_name["signal"].y), min(by_name["signal"].y)) == (5, 6)
    assert by_name["signal"].customdata[0].startswith("CUSUM: more rejects than in phase I, since 20")
    figure = quality_charts.memory_chart(ewma, UTC)
    by_name = {trace.name: trace for trace in figure.data}
    assert (by_name["EWMA"].y[-1], by_name["upper limit"].y[0], len(by_name["signal"].y)) == (10 / 3, 1.7, 5)
    assert [annotation.text for annotation in figure.layout.annotations] == ["◆"]


def test_the_kind_of_chart_is_chosen_and_says_what_it_promises(opened: Opener, central: StubCentral) -> None:
    app = opened("quality")
    assert "GET /quality/memory-charts" not in central.asked
    groups: Any = app.get("button_group")
    (control,) = [each for each in groups if "CUSUM" in each.options]
    app = control.set_value("cusum").run()
    assert "GET /quality/memory-charts" in central.asked
    assert "a false alarm in about 465 samples" in texts(app)


def test_a_hint_is_marked_with_its_assumption_and_is_in_no_figure(opened: Opener, central: StubCentral) -> None:
    shown = texts(opened("quality"))
    assert "A hint, not a measurement" in shown
    assert "no covariate shift beyond calibration" in shown
    with CentralClient(central.url, VIEWER) as client:
        known, unknown = client.hints(60)
    said = hint_panel.row(known)
    assert "HINT" in said[2]
    assert "about 0.40\u202f% of 1\u202f880 accepted (0.20\u202f% to 0.80\u202f% by the curve alone)" in said[2]
    assert said[3] == "120 audits, 14 defective; 3.0\u202f% of the scores are beyond what was audited"
    assert "not known: expected at least &lt;10&gt; audits" in hint_panel.row(unknown)[2]
