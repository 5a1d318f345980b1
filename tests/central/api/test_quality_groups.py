# SPDX-License-Identifier: Apache-2.0
"""Figures and charts by site, line, station, product, shift and package, over real HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from central.services.alarms.rows import Signal, raise_alarm
from contracts.ids import StationAddress
from contracts.vocabulary import AlarmKind, AuditState, Judgement, Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import PACKAGE, START, STATION, make_report

OTHER = StationAddress(site="plant", line="line-2", station="st-9")
NEW_PACKAGE = "b" * 64


def _get(api: Api, path: str, **query: Any) -> Any:
    answer = api.as_(Role.VIEWER).get(f"/api/v1/quality/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _groups(api: Api, **query: Any) -> dict[str, dict[str, Any]]:
    return {group["group"]: group for group in _get(api, "figures", **query)["groups"]}


def _two_lines(api: Api) -> None:
    api.store(*(make_report(n, Verdict.NG if n <= 2 else Verdict.OK) for n in range(1, 11)))
    api.store(
        *(make_report(n, Verdict.NG if n <= 5 else Verdict.OK, product="nut") for n in range(1, 11)), station=OTHER
    )


@pytest.mark.parametrize(
    ("by", "parts"),
    [
        ("site", {"plant": 20}),
        ("line", {"plant/line-1": 10, "plant/line-2": 10}),
        ("station", {str(STATION): 10, str(OTHER): 10}),
        ("package", {PACKAGE: 20}),
    ],
)
def test_every_part_is_in_exactly_one_group(api: Api, by: str, parts: dict[str, int]) -> None:
    _two_lines(api)
    groups = _groups(api, by=by)
    assert {name: group["parts"] for name, group in groups.items()} == parts
    assert sum(group["reject_rate"]["count"] for group in groups.values()) == 7


def test_products_and_yields(api: Api) -> None:
    _two_lines(api)
    nut = _groups(api, by="product")["nut"]
    assert (nut["first_pass_yield"]["estimate"], nut["first_pass_yield"]["of"]) == (0.5, 10)
    assert nut["first_pass_yield"]["low"] < 0.5 < nut["first_pass_yield"]["high"]


def test_shifts_follow_the_clock_of_the_plant(api: Api) -> None:
    early, late = START.replace(hour=4, minute=30), START.replace(hour=5, minute=30)
    api.store(make_report(1, captured_at=early), make_report(2, captured_at=late))
    shown = _groups(api, by="shift", shifts="06:00,18:00", time_zone="Europe/Berlin")
    assert [(name[-5:], group["parts"]) for name, group in sorted(shown.items())] == [("18:00", 1), ("06:00", 1)]
    refused = api.as_(Role.VIEWER).get("/api/v1/quality/figures", params={"by": "shift", "shifts": "noon"})
    assert refused.status_code == 422
    assert "times of day" in refused.text


def test_pareto_escapes_and_cost_come_from_what_people_said(api: Api) -> None:
    api.store(*(make_report(n, Verdict.NG if n <= 20 else Verdict.OK) for n in range(1, 101)))
    for n in range(1, 9):
        said = Judgement.GOOD if n <= 2 else Judgement.DEFECTIVE
        kind = {"defect_class": "pit" if n <= 6 else "stain"} if said is Judgement.DEFECTIVE else {}
        api.draw_audit(n, 1.0, state=AuditState.JUDGED, judgement=said, **kind)
    for n in range(41, 61):
        said = Judgement.DEFECTIVE if n == 41 else Judgement.GOOD
        api.draw_audit(n, 0.25, state=AuditState.JUDGED, judgement=said)
    group = _groups(api, cost_of_part=4, currency="EUR")[str(STATION)]
    assert [(bar["defect_class"], bar["count"]) for bar in group["pareto"]] == [
        ("pit", 4),
        ("stain", 2),
        ("not named", 1),
    ]
    assert group["pareto"][-1]["cumulative"] == pytest.approx(1)
    assert group["escapes"]["estimate"] == pytest.approx(50_000)
    assert group["escapes"]["unit"] == "ppm of accepted parts"
    assert (group["overkill"]["count"], group["overkill"]["of"]) == (2, 8)
    assert group["overkill_cost"]["estimate"] == pytest.approx(0.25 * 20 * 4)
    assert group["overkill_cost"]["unit"] == "EUR"


def test_what_nobody_judged_is_not_known(api: Api) -> None:
    _two_lines(api)
    group = _groups(api)[str(STATION)]
    assert (group["escapes"]["estimate"], group["overkill"]["estimate"]) == (None, None)
    assert (group["pareto"], group["overkill_cost"]) == ([], None)


def test_simulated_and_real_parts_are_two_groups(api: Api) -> None:
    api.store(make_report(1), make_report(2, is_simulated=False))
    shown = _get(api, "figures")["groups"]
    assert [(group["is_simulated"], group["parts"]) for group in shown] == [(False, 1), (True, 1)]


def _two_hours(api: Api) -> None:
    """60 samples of two minutes with 20 parts each: one reject in each, ten in the last; a new package at 30."""
    reports = []
    for sample in range(60):
        at = START - timedelta(minutes=120 - 2 * sample)
        for n in range(20):
            verdict = Verdict.NG if n < (10 if sample == 59 else 1) else Verdict.OK
            package = PACKAGE if sample < 30 else NEW_PACKAGE
            reports.append(make_report(20 * sample + n + 1, verdict, captured_at=at, package_id=package))
    api.store(*reports)


def test_a_chart_learns_its_limits_and_signals_where_they_are_left(api: Api) -> None:
    _two_hours(api)
    (chart,) = _get(api, "attribute-charts", sample_minutes=2, minutes=240)
    assert len(chart["points"]) == 60
    assert chart["centre_line"] == pytest.approx(0.05)
    assert [index for index, point in enumerate(chart["points"]) if point["rules"]] == [59]
    assert chart["points"][59]["rules"] == ["outside exact limits"]
    assert (chart["points"][59]["count"], chart["points"][59]["of"]) == (10, 20)


def test_numbers_and_named_rules_come_on_demand(api: Api) -> None:
    _two_hours(api)
    (chart,) = _get(api, "attribute-charts", sample_minutes=2, minutes=240, kind="np", limits="3 sigma", rules="nelson")
    assert chart["points"][59]["value"] == pytest.approx(10)
    assert chart["points"][59]["rules"] == ["outside 3 sigma limits", "Nelson 1: one point beyond 3 sigma"]
    # The same share in every sample: each lies on the centre line, so fifteen in a row hug it.
    assert any(rule.startswith("Nelson 7") for rule in chart["points"][14]["rules"])


def test_package_changes_and_alarms_are_marked(api: Api) -> None:
    _two_hours(api)
    with api.services.database.begin() as session:
        for station in (str(STATION), str(OTHER)):
            signal = Signal(
                AlarmKind.REJECT_RATE, f"more rejects at {station}", "look", is_simulated=True, station=station
            )
            raise_alarm(session, signal, START - timedelta(minutes=1))
    (chart,) = _get(api, "attribute-charts", sample_minutes=2, minutes=240)
    assert [mark["kind"] for mark in chart["marks"]] == ["package", "alarm"]
    assert NEW_PACKAGE[:12] in chart["marks"][0]["text"]
    assert str(STATION) in chart["marks"][1]["text"]


def test_too_few_samples_make_no_chart_and_too_many_are_refused(api: Api) -> None:
    _two_lines(api)
    assert _get(api, "attribute-charts") == []
    refused = api.as_(Role.VIEWER).get(
        "/api/v1/quality/attribute-charts", params={"minutes": 40_000, "sample_minutes": 1}
    )
    assert refused.status_code == 422
    assert "at most 1000 samples, got 40000" in refused.text
