# SPDX-License-Identifier: Apache-2.0
"""Words, marks, charts and pictures: pure pieces, each with its rule."""

from __future__ import annotations

import io
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contracts.vocabulary import Judgement, Verdict
from dashboard import charts, marks, palette, panels, pictures, words
from dashboard.__main__ import main, streamlit_command
from dashboard.client import CentralClient
from dashboard.happenings import happenings
from dashboard.lifecycle import Limits, Promise
from dashboard.pages.stepper import history, split_line
from dashboard.settings import PREFIX, SettingsError, read_settings
from dashboard.shapes import Bucket, Rate
from dashboard.widgets.judge import Answer, parse_answer
from tests.dashboard.learning_story import NEW, OLD, STATIONS
from tests.dashboard.plant_story import ring_picture
from tests.dashboard.stub_central import VIEWER, StubCentral

AT = datetime(2026, 3, 2, 9, 40, tzinfo=UTC)


def _rate(estimate: float | None, low: float = 0.0, high: float = 1.0, of: int = 100) -> Rate:
    return Rate(estimate=estimate, low=low, high=high, count=0, of=of)


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0 %"), (0.0004, "0.040 %"), (0.0062, "0.62 %"), (0.06, "6.0 %"), (1, "100 %")]
)
def test_share_reads_with_two_digits_and_its_unit(share: float, shown: str) -> None:
    assert words.percent(share) == shown.replace(" ", words.THIN)


def test_unknown_rate_has_no_number_at_all() -> None:
    tile = marks.rate_figure("Escapes", _rate(None, of=0), "parts", unknown="Judge audits.", colour="#000")
    assert "not known" in tile
    assert "%" not in tile
    assert "Judge audits." in tile


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_whisker_never_leaves_its_box(first: float, second: float, third: float) -> None:
    low, at, high = sorted((first, second, third))
    html = marks.whisker(_rate(at, low, high), "#123456")
    left = float(html.split("left:")[1].split("%")[0])
    assert 0 <= left <= 100


@given(st.text())
def test_foreign_text_never_becomes_markup(text: str) -> None:
    for mark in (
        marks.badge,
        marks.banner,
        lambda word: marks.empty(word, word),
        lambda word: marks.figure(word, word),
    ):
        assert mark(text).count("<") == mark("x").count("<")


@given(st.integers(0, 10**9))
def test_thousands_are_parted_and_nothing_is_lost(number: int) -> None:
    assert int(words.count(number).replace(words.THIN, "")) == number


def test_zone_is_named_with_its_offset() -> None:
    assert words.zone_name(ZoneInfo("Europe/Berlin"), AT) == "Europe/Berlin (UTC+1)"
    assert words.zone_name(ZoneInfo("Asia/Kolkata"), AT) == "Asia/Kolkata (UTC+5:30)"
    assert words.zone_name(ZoneInfo("America/St_Johns"), AT) == "America/St_Johns (UTC-3:30)"
    assert words.zone_name(UTC, AT) == "UTC"


def test_clock_that_runs_ahead_reads_as_now() -> None:
    assert words.ago(AT + timedelta(minutes=3), AT) == f"0{words.THIN}s ago"
    assert words.ago(None, AT) == "never"


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_ng_and_ok_differ_in_lightness_and_every_verdict_has_its_own_sign() -> None:
    ng, ok = (_luminance(palette.VERDICT_COLOUR[word]) for word in (Verdict.NG, Verdict.OK))
    assert (ok + 0.05) / (ng + 0.05) > 2
    assert len(set(palette.VERDICT_SIGN.values())) == len(Verdict)


def test_strip_shows_every_part_and_marks_those_without_a_score(central: StubCentral) -> None:
    with CentralClient(central.url, VIEWER) as client:
        parts = client.inspections(limit=60)
    html = marks.strip(parts[:40], UTC, cells=60)
    assert html.count("<s>") == 40
    assert html.count("<i></i>") == 20
    assert html.count("sl-bar-no_decision") == sum(p.verdict is Verdict.NO_DECISION for p in parts[:40])


def test_a_higher_score_is_a_higher_bar_far_beyond_the_limit(central: StubCentral) -> None:
    with CentralClient(central.url, VIEWER) as client:
        part = next(part for part in client.inspections(limit=60) if part.score is not None)
    scores = (0.0, 0.1, 0.5, 0.99, 1.0, 1.5, 2.5, 5.0, 20.0)
    parts = [replace(part, verdict=Verdict.OK, score=score, ng_limit=1.0) for score in reversed(scores)]
    heights = [float(found) for found in re.findall(r"height:([\d.]+)%", marks.strip(parts, UTC))]
    assert len(heights) == len(scores)
    assert heights == sorted(set(heights))
    assert 0 < heights[0] < heights[-1] < 100


def test_a_package_says_what_it_promises_of_overkill_and_of_escapes() -> None:
    bare = Limits(ok_limit=1, ng_limit=2, sound_parts=300, rule="by hand")
    assert "nothing promised about overkill" in panels.promise(bare)
    sound_only = replace(bare, overkill=Promise("Of sound parts at most 1.0 % are judged NG."))
    assert "at most 1.0 % are judged NG. Nothing promised about escapes" in panels.promise(sound_only)
    labelled = replace(sound_only, escapes=Promise("Of defective parts at most 8.0 % pass."))
    assert "judged NG. Of defective parts at most 8.0 % pass. (by hand)" in panels.promise(labelled)


def _bucket(minute: int, package: str | None, station: str = STATIONS[0], ng: int = 1) -> Bucket:
    return Bucket(
        minute=AT + timedelta(minutes=minute),
        station=station,
        product="ring",
        package_id=package,
        parts=10,
        ok=9 - ng,
        ng=ng,
        review=1,
        no_decision=0,
        is_simulated=True,
    )


def test_package_change_is_marked_once_a_station() -> None:
    found = charts.package_changes([_bucket(0, OLD), _bucket(1, None), _bucket(2, NEW), _bucket(3, NEW)])
    assert [mark.at for mark in found] == [AT + timedelta(minutes=2)]
    assert NEW[:10] in found[0].text


def test_minute_of_two_stations_adds_up() -> None:
    minutes = charts.per_minute([_bucket(0, OLD), _bucket(0, NEW, STATIONS[1], ng=3)])
    assert [(m.ng, m.parts) for m in minutes.values()] == [(4, 20)]


def test_timeline_names_its_units_and_draws_all_verdicts() -> None:
    figure = charts.timeline([_bucket(0, OLD), _bucket(1, NEW)], [charts.Mark(AT, "alarm", is_alarm=True)], UTC)
    titles = [figure.layout.yaxis.title.text, figure.layout.yaxis2.title.text]
    assert titles == ["share of parts, %", "parts in the minute"]
    assert {trace.name for trace in figure.data} == set(palette.VERDICT_WORD.values())


def test_control_chart_marks_the_signal_and_draws_the_limits(central: StubCentral) -> None:
    with CentralClient(central.url, VIEWER) as client:
        chart = client.charts()[0]
    figure = charts.control_chart(chart, UTC)
    assert len(figure.data[1].x) == 1
    assert len(figure.layout.shapes) == 3


def test_overlay_colours_the_hot_place_alone() -> None:
    crop, heat = ring_picture(5, with_scratch=True)
    mixed = pictures.overlay(crop, heat)
    assert mixed is not None
    before = np.asarray(Image.open(io.BytesIO(crop)), dtype=np.int16)
    after = np.asarray(Image.open(io.BytesIO(mixed)), dtype=np.int16)
    change = np.abs(after - before).sum(axis=2)
    assert change[60:80, 130:150].mean() > 60
    assert change[150:, :40].max() == 0


@pytest.mark.parametrize("broken", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_picture_gives_none(broken: bytes) -> None:
    crop, _ = ring_picture(5, with_scratch=False)
    assert pictures.overlay(crop, broken) is None
    assert pictures.overlay(broken, crop) is None


def test_happenings_come_newest_first_and_tell_why(central: StubCentral) -> None:
    with CentralClient(central.url, VIEWER) as client:
        lines = happenings(client.alarms(), client.trainings(), client.packages(), client.rollouts())
    assert [line.at for line in lines] == sorted((line.at for line in lines), reverse=True)
    assert any("escapes above what is tolerated" in line.text for line in lines)


@given(st.text())
def test_history_line_of_any_text_is_shown_escaped(line: str) -> None:
    _, text = split_line(line)
    assert text in line


def test_history_line_with_a_time_is_parted() -> None:
    assert split_line("2026-03-02T09:40:00Z canary active") == (AT, "canary active")


def test_history_without_lines_says_so(central: StubCentral) -> None:
    with CentralClient(central.url, VIEWER) as client:
        rollout = client.rollouts()[0]
    assert "canary line-1/st-1 active" in history(rollout, UTC)


@pytest.mark.parametrize(
    "value",
    [None, 3, "GOOD", {}, {"audit_id": "1", "judgement": "GOOD"}, {"audit_id": 1, "judgement": "FINE"}, [1]],
)
def test_nonsense_from_a_browser_is_no_answer(value: object) -> None:
    assert parse_answer(value) is None


def test_answer_from_the_browser_is_read() -> None:
    sent = {"audit_id": 4, "judgement": "DEFECTIVE", "defect_class": "scratch"}
    assert parse_answer(sent) == Answer(4, Judgement.DEFECTIVE, "scratch")


def test_settings_report_all_faults_at_once() -> None:
    bad = {f"{PREFIX}CENTRAL": "ftp://x", f"{PREFIX}TIME_ZONE": "Mars/Base", f"{PREFIX}TIMEOUT_S": "soon"}
    with pytest.raises(SettingsError) as error:
        read_settings(bad)
    assert [word in str(error.value) for word in ("CENTRAL", "TIME_ZONE", "TIMEOUT_S")] == [True] * 3


def test_missing_token_file_is_a_clear_error_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--token-file", "/nowhere/token"]) == 2
    assert "expected a readable file" in capsys.readouterr().err


def test_place_that_cannot_be_served_is_a_clear_error_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, said in (
            (["--port", "99999"], "--port: expected 1 … 65535, got 99999"),
            (["--port", "-1"], "--port: expected 1 … 65535, got -1"),
            (["--port", port], f"expected a free address of this machine, got 127.0.0.1:{port}"),
            (["--address", "192.0.2.1"], "expected a free address of this machine, got 192.0.2.1:8501"),
        ):
            assert main(["--central", "http://127.0.0.1:1", *options]) == 2
            assert said in capsys.readouterr().err


def test_server_sends_no_statistics_and_shows_no_tracebacks() -> None:
    command = streamlit_command(8501, "127.0.0.1")
    assert "--browser.gatherUsageStats=false" in command
    assert "--client.showErrorDetails=none" in command
    assert "--server.address=127.0.0.1" in command
