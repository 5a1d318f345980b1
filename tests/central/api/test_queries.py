# SPDX-License-Identifier: Apache-2.0
"""A query that a route does not understand is refused, on every route; what probes and files are asked with is not."""

import pytest

from contracts.vocabulary import Role
from tests.central.api.conftest import Api
from tests.central.api.test_rights import OPEN, RIGHTS, STATION_ONLY, _path

P = "/api/v1"
PROBES = ("/health", "/ready", "/api/v1/health", "/api/v1/ready", "/metrics")


def _caller(right: str) -> Role:
    return Role.STATION if right == STATION_ONLY else Role.ADMIN


def test_every_route_refuses_a_parameter_that_it_does_not_know(api: Api) -> None:
    for (method, path), right in RIGHTS.items():
        answer = api.as_(_caller(right)).request(method, f"{_path(path)}?stat=active")
        if path in PROBES:
            assert answer.status_code in (200, 503), path
            continue
        assert answer.status_code == 422, (method, path, answer.status_code, answer.text)
        assert f"query of {method} " in answer.json()["detail"], (method, path)
        assert "got 'stat'" in answer.json()["detail"], (method, path)


def test_refusal_names_the_parameters_that_there_are(api: Api) -> None:
    answer = api.as_(Role.VIEWER).get(f"{P}/rollouts?stat=RUNNING&limit=3")
    assert answer.json()["detail"] == "query of GET /rollouts: expected limit, state, got 'stat'"
    none = api.as_(Role.VIEWER).get(f"{P}/stations?site=plant-1")
    assert none.json()["detail"] == "query of GET /stations: expected no parameter, got 'site'"


def test_known_parameters_pass_those_of_a_shape_and_of_dependencies_too(api: Api) -> None:
    viewer = api.as_(Role.VIEWER)
    for query in (
        "rollouts?state=RUNNING&limit=3",
        "inspections?before_id=5&limit=2",
        "inspections?after_id=5&verdict=OK",
        "quality/figures?by=shift&shifts=06:00&time_zone=UTC&cost_of_part=1.5&currency=EUR",
        "reports/shift.csv?day=2026-01-02&shift=06:00&by=anna&cost_of_part=2",
        "freezes?is_over=true&limit=5",
    ):
        answer = viewer.get(f"{P}/{query}")
        assert answer.status_code in (200, 404), (query, answer.text)
    picture = api.as_(Role.ENGINEER).post(
        f"{P}/products/ring/reference-parts?judgement=GOOD&part_id=p-1&is_simulated=false", content=b"no picture"
    )
    assert "expected a PNG or JPEG picture" in picture.json()["detail"]


def test_parameter_given_twice_is_refused_and_not_the_last_taken(api: Api) -> None:
    answer = api.as_(Role.VIEWER).get(f"{P}/rollouts?state=RUNNING&state=PAUSED")
    assert answer.status_code == 422
    assert "expected each parameter once, got state more than once" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["?=5", "?%00=1", "?" + "a" * 5000 + "=1", "&".join(["?b=1", *["c%d=1"] * 500])])
def test_odd_names_are_refused_in_few_words(api: Api, query: str) -> None:
    answer = api.as_(Role.VIEWER).get(f"{P}/rollouts{query}")
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) < 500


def test_nobody_without_a_token_is_told_what_could_be_asked(api: Api) -> None:
    answer = api.anonymous.get(f"{P}/rollouts?stat=active")
    assert answer.status_code == 401
    assert "state" not in answer.json()["detail"]


@pytest.mark.parametrize("value", ["1", "0", "-5", "1.5", " 7 ", "1763800000"])
@pytest.mark.parametrize(
    "route", ["inspections?since=", "quality/rates?until=", "shadow?since=", "reports/shift.csv?since="]
)
def test_bare_number_is_no_time(api: Api, route: str, value: str) -> None:
    answer = api.as_(Role.VIEWER).get(f"{P}/{route}{value}")
    assert answer.status_code == 422
    assert "expected a date and time with its offset" in answer.json()["detail"]


@pytest.mark.parametrize("station", ["", "st-1", "plant/line-1", "plant/line-1/st-1/x", "Plant/line-1/st-1", "*", " "])
@pytest.mark.parametrize(
    "route", ["inspections", "quality/rates", "quality/charts", "quality/figures", "audits/shifts", "quality/hints"]
)
def test_station_that_is_no_address_is_refused_and_not_found_empty(api: Api, route: str, station: str) -> None:
    answer = api.as_(Role.VIEWER).get(f"{P}/{route}", params={"station": station})
    assert answer.status_code == 422, answer.text
    assert "query.station: expected site/line/station" in answer.json()["detail"]


def test_open_routes_are_the_probes() -> None:
    """Only they may be asked with anything: nothing there could be mistaken for a filter."""
    assert {path for (_, path), right in RIGHTS.items() if right == OPEN} | {"/metrics"} == set(PROBES)
