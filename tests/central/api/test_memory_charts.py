# SPDX-License-Identifier: Apache-2.0
"""CUSUM and EWMA charts of rejects by group, over real HTTP: a small rise that stays; the p chart is silent."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.vocabulary import Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import PACKAGE, START, STATION, make_report

_SAMPLES, _RISE = 60, 30


def _get(api: Api, path: str, **query: Any) -> Any:
    answer = api.as_(Role.VIEWER).get(f"/api/v1/quality/{path}", params={"minutes": 240, "sample_minutes": 2, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _two_hours(api: Api, *, rise: int, product: str = "ring", first: int = 1) -> None:
    """60 samples of two minutes with 40 parts each: about two rejects in each, and so many more from sample 30 on."""
    reports = []
    for sample in range(_SAMPLES):
        at = START - timedelta(minutes=120 - 2 * sample)
        rejects = (1, 2, 3, 2)[sample % 4] + (rise if sample >= _RISE else 0)
        for n in range(40):
            verdict = Verdict.NG if n < rejects else Verdict.OK
            reports.append(make_report(first + 40 * sample + n, verdict, captured_at=at, product=product))
    api.store(*reports)


@pytest.mark.parametrize(("kind", "rule"), [("cusum", "CUSUM"), ("ewma", "EWMA")])
@pytest.mark.parametrize(
    ("by", "group"), [("station", str(STATION)), ("product", "ring"), ("package", PACKAGE), ("line", "plant/line-1")]
)
def test_a_small_rise_that_stays_is_seen_by_every_grouping(api: Api, kind: str, rule: str, by: str, group: str) -> None:
    _two_hours(api, rise=2)
    (plain,) = _get(api, "attribute-charts", by=by)
    assert not any(point["rules"] for point in plain["points"]), "the p chart does not see it"
    (chart,) = _get(api, "memory-charts", by=by, kind=kind)
    assert (chart["group"], chart["kind"], chart["reference"], chart["is_simulated"]) == (group, kind, 20, True)
    assert chart["centre_line"] == pytest.approx(0.05)
    signals = [index for index, point in enumerate(chart["points"]) if point["rules"]]
    assert _RISE < signals[0] < _RISE + 20
    assert signals[-1] == _SAMPLES - 1
    assert chart["points"][signals[0]]["rules"] == [f"{rule}: more rejects than in phase I"]
    assert (chart["points"][40]["count"], chart["points"][40]["of"], chart["points"][40]["value"]) == (3, 40, 0.075)


def test_a_cusum_tells_when_the_rise_began_and_how_often_it_cries_falsely(api: Api) -> None:
    _two_hours(api, rise=2)
    (chart,) = _get(api, "memory-charts", kind="cusum")
    points = chart["points"]
    (first, *_) = [point for point in points if point["rules"]]
    began = [point["at"] for point in points].index(first["began_at"])
    assert abs(began - _RISE) <= 2
    assert (chart["samples_between_false_alarms"], chart["limit"]) == (465, pytest.approx(7.34, abs=0.01))
    assert first["up"] > chart["limit"] > first["down"] >= 0
    assert {points[19][name] for name in ("up", "down", "level", "low", "high", "began_at")} == {None}
    assert all(point["level"] is None and -point["low"] == point["high"] == chart["limit"] for point in points[20:])


def test_fewer_rejects_are_a_signal_too(api: Api) -> None:
    """A detector that has gone blind rejects nothing."""
    _two_hours(api, rise=0)
    (chart,) = _get(api, "memory-charts", kind="cusum")
    assert not any(point["rules"] for point in chart["points"])
    later = [make_report(9_000 + n, Verdict.OK, captured_at=START + timedelta(minutes=n // 20)) for n in range(1_200)]
    api.store(*later)
    api.clock.at += timedelta(hours=1)
    (chart,) = _get(api, "memory-charts", kind="cusum")
    said = [rule for point in chart["points"] for rule in point["rules"]]
    assert set(said) == {"CUSUM: fewer rejects than in phase I"}


def test_shifts_are_groups_of_their_own_and_marks_stand_in_the_charts(api: Api) -> None:
    _two_hours(api, rise=2)
    charts = _get(api, "memory-charts", by="shift", shifts="04:00,05:00", kind="ewma")
    assert [chart["group"] for chart in charts] == ["2026-03-01 04:00", "2026-03-01 05:00"]
    assert [len(chart["points"]) for chart in charts] == [30, 30]
    # The rise is at the change of shifts: each learns its own share.
    assert not any(point["rules"] for chart in charts for point in chart["points"])
    assert charts[0]["centre_line"] < charts[1]["centre_line"]


def test_too_few_samples_make_no_chart_and_bad_words_are_refused(api: Api) -> None:
    api.store(*(make_report(n) for n in range(1, 11)))
    assert _get(api, "memory-charts") == []
    viewer = api.as_(Role.VIEWER)
    for query, said in (
        ({"minutes": 40_000, "sample_minutes": 1}, "at most 1000 samples, got 40000"),
        ({"kind": "shewhart"}, "kind"),
        ({"reference": 3}, "reference"),
    ):
        refused = viewer.get("/api/v1/quality/memory-charts", params=query)
        assert (refused.status_code, said in refused.text) == (422, True)
