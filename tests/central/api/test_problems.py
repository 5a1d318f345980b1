# SPDX-License-Identifier: Apache-2.0
"""What a person reads who sent something impossible: where, what was expected, what came."""

import json
from pathlib import Path
from typing import Final

import pytest

from contracts.vocabulary import Role
from tests.central.api.conftest import Api
from tests.central.api.test_rights import RIGHTS, STATION_ONLY, _path

P = "/api/v1"
ODD: Final = (
    b"", b"null", b"[]", b"1", b'"x"', b"{}", b"NaN", b'{"by": NaN}', b"[" * 100_000, b"9" * 5_000, b"\xff\xfe{}",
    b'{"by": "\\ud800"}', b'{"by": "anna", "note": "\\u0000", "reason": "\\u0000"}', b'{"by": 1e999}',
    b'{"package_id": "' + b"a" * 64 + b'", "canary": 1e300}',
    b'{"plan": {"waves": [{"scope": "COUNT", "amount": NaN}]}}',
)  # fmt: skip


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"package_id": "0123456789ab", "reason": "x"},
            "body.package_id: String should match pattern '^[0-9a-f]{64}$', got '0123456789ab'",
        ),
        ({"package_id": "z" * 500}, f"got '{'z' * 59}…"),
        ({"package_id": "a" * 64, "canary": -3}, "got -3"),
        (
            {"package_id": "a" * 64, "canary": 2, "plan": {}},
            "body: canary: expected either `canary` or `plan`, got both",
        ),
    ],
)
def test_what_came_is_said_once_and_short(api: Api, body: dict[str, object], said: str) -> None:
    answer = api.as_(Role.ENGINEER).post(f"{P}/rollouts", json=body)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert said in detail
    assert "Value error" not in detail
    assert len(detail) < 400


def test_body_that_is_no_json_is_said_to_be_none(api: Api) -> None:
    answer = api.as_(Role.ENGINEER).post(
        f"{P}/rollouts", content=b"{not json", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert "expected JSON, got something else" in answer.json()["detail"]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_odd_body_is_never_a_fault_of_the_server(api: Api, body: bytes) -> None:
    for (method, path), right in RIGHTS.items():
        if method in ("POST", "PUT"):
            client = api.as_(Role.STATION if right == STATION_ONLY else Role.ADMIN)
            answer = client.request(method, _path(path), content=body, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, (method, path, answer.status_code, answer.text)
            assert set(answer.json()) == {"error", "detail"}, (method, path)
            assert len(answer.text) < 3000, (method, path)


def limited() -> list[str]:
    """Routes with a limit, as the API describes itself; `test_queries` sees to it that the others refuse one."""
    paths = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())["paths"]
    return [
        path
        for path, methods in paths.items()
        if any(each["name"] == "limit" for each in methods.get("get", {}).get("parameters", []))
    ]


def test_many_routes_have_a_limit() -> None:
    assert len(limited()) >= 12
    assert {("GET", path) for path in limited()} <= set(RIGHTS)


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1e9", "99999999999999999999999", "nan", "1.5"])
def test_odd_limit_is_refused_wherever_there_is_one(api: Api, value: str) -> None:
    for path in limited():
        answer = api.as_(Role.ADMIN).get(_path(path), params={"limit": value})
        assert (answer.status_code, "query.limit" in answer.text) == (422, True), (path, answer.text)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-1", "1e400", ""])
def test_odd_cost_is_refused(api: Api, number: str) -> None:
    for route in ("quality/figures", "reports/shift.csv"):
        answer = api.as_(Role.VIEWER).get(f"{P}/{route}", params={"cost_of_part": number})
        assert (answer.status_code, "query.cost_of_part" in answer.text) == (422, True), answer.text


@pytest.mark.parametrize("name", ["", "  ", "a\x00", "x" * 65])
def test_defect_class_has_a_name(api: Api, name: str) -> None:
    body = {"judgement": "DEFECTIVE", "inspector": "anna", "defect_class": name}
    answer = api.as_(Role.INSPECTOR).post(f"{P}/audits/1/outcome", json=body)
    assert (answer.status_code, "body.defect_class" in answer.text) == (422, True), answer.text


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("trainings", {"product": "ring", "detectr": "MIXED"}),
        ("admin/tokens", {"name": "guest", "role": "VIEWER", "detectr": 1}),
        ("rollouts/1/abort", {"by": "anna", "detectr": 1}),
        ("alarms/1/close", {"by": "anna", "detectr": 1}),
        ("recipes/ring", {"document": {}, "note": "x", "detectr": 1}),
        ("audits/shifts/1/resume", {"by": "anna", "detectr": 1}),
    ],
)
def test_field_that_nobody_knows_is_refused_and_not_passed_over(api: Api, route: str, body: dict[str, object]) -> None:
    answer = api.as_(Role.ADMIN).post(f"{P}/{route}", json=body)
    assert (answer.status_code, "body.detectr: Extra inputs" in answer.text) == (422, True), answer.text
