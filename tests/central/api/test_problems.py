# SPDX-License-Identifier: Apache-2.0
"""What a person reads who sent something impossible: where, what was expected, what came."""

import pytest

from contracts.vocabulary import Role
from tests.central.api.conftest import Api

P = "/api/v1"


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
