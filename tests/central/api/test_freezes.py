# SPDX-License-Identifier: Apache-2.0
"""Freezes over HTTP: a slip of the pen is said at once, the same wish makes nothing, lifting says what still holds."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from contracts.vocabulary import Role
from tests.central.api.conftest import Api
from tests.central.api.test_rollout_routes import be_heard

P = "/api/v1/freezes"


@pytest.fixture(name="engineer")
def _engineer(api: Api) -> httpx.Client:
    be_heard(api)
    return api.as_(Role.ENGINEER)


def body(api: Api, begins: timedelta, ends: timedelta, **more: object) -> dict[str, Any]:
    now = api.clock.now()
    times = {"begins": (now + begins).isoformat(), "ends": (now + ends).isoformat()}
    return {**times, "reason": "stock-taking", "by": "anna", **more}


def soon(api: Api, **more: object) -> dict[str, Any]:
    return body(api, timedelta(0), timedelta(days=2), **more)


def test_site_never_heard_of_is_refused_with_those_that_are_known(api: Api, engineer: httpx.Client) -> None:
    refused = engineer.post(P, json=soon(api, site="plnt"))
    assert refused.status_code == 404
    assert "site plnt: never heard of, so nobody would be frozen; known: plant." in refused.json()["detail"]
    assert engineer.get(P).json() == []
    assert engineer.post(P, json=soon(api, site="plnt", is_ahead=True)).status_code == 201
    assert engineer.post(P, json=soon(api, site="plant")).status_code == 201
    assert engineer.post(P, json=soon(api)).status_code == 201


def test_same_freeze_again_is_the_one_that_there_is(api: Api, engineer: httpx.Client) -> None:
    first = engineer.post(P, json=soon(api, site="plant"))
    again = engineer.post(P, json=soon(api, site="plant", by="bert"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    for other in (soon(api), soon(api, site="plant", reason="audit"), body(api, timedelta(0), timedelta(days=3))):
        assert engineer.post(P, json=other).status_code == 201
    assert engineer.post(P, json=soon(api)).status_code == 200
    assert len(engineer.get(P).json()) == 4
    # What was lifted is over: the same wish afterwards is another freeze.
    engineer.post(f"{P}/1/lift", json={"by": "anna"})
    assert engineer.post(P, json=soon(api, site="plant")).status_code == 201


@pytest.mark.parametrize("time", [1, 0, 1.5, "1", "1763800000", "", "tomorrow", "2026-11-22", "2026-11-22T10:00", None])
def test_what_is_no_time_with_an_offset_is_refused(api: Api, engineer: httpx.Client, time: object) -> None:
    for name in ("begins", "ends"):
        answer = engineer.post(P, json={**soon(api), name: time})
        assert answer.status_code == 422, answer.text
        assert f"body.{name}" in answer.json()["detail"]
    assert engineer.get(P).json() == []


@pytest.mark.parametrize(
    ("begins_days", "ends_days", "said"),
    [
        (-2, -1, "ends: expected a time to come"),
        (-2, 0, "ends: expected a time to come"),
        (-32, 1, "begins: expected at most 31 days ago"),
        (367, 368, "begins: expected within 366 days"),
        (0, 367, "ends: expected at most 366 days after"),
        (2, 1, "expected a time after"),
        (1, 1, "expected a time after"),
    ],
)
def test_times_that_were_not_meant_are_refused(
    api: Api, engineer: httpx.Client, begins_days: float, ends_days: float, said: str
) -> None:
    answer = engineer.post(P, json=body(api, timedelta(days=begins_days), timedelta(days=ends_days)))
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
    assert engineer.get(P).json() == []


@pytest.mark.parametrize(("begins_days", "ends_days"), [(-31, 1), (366, 367), (0, 366), (-0.5, 0.1)])
def test_times_at_the_border_are_taken(api: Api, engineer: httpx.Client, begins_days: float, ends_days: float) -> None:
    assert engineer.post(P, json=body(api, timedelta(days=begins_days), timedelta(days=ends_days))).status_code == 201


@pytest.mark.parametrize("reason", ["", "   ", "\t\n", "a\x00b", "x" * 1001])
def test_reason_says_something(api: Api, engineer: httpx.Client, reason: str) -> None:
    answer = engineer.post(P, json=soon(api, reason=reason))
    assert answer.status_code == 422
    assert "body.reason" in answer.json()["detail"]


def test_lifting_names_what_still_holds_the_site(api: Api, engineer: httpx.Client) -> None:
    everywhere = engineer.post(P, json=soon(api, reason="holidays")).json()
    here = engineer.post(P, json=soon(api, site="plant")).json()
    engineer.post(P, json=body(api, timedelta(days=1), timedelta(days=2), site="plant", reason="later"))
    engineer.post(P, json=soon(api, site="elsewhere", is_ahead=True))
    assert here["also_frozen_by"] == [everywhere["id"]]
    lifted = engineer.post(f"{P}/{here['id']}/lift", json={"by": "anna"}).json()
    assert (lifted["is_in_force"], lifted["also_frozen_by"]) == (False, [everywhere["id"]])
    last = engineer.post(f"{P}/{everywhere['id']}/lift", json={"by": "anna"}).json()
    assert last["also_frozen_by"] == [4]


def test_freeze_that_ended_by_itself_is_not_lifted_and_is_shown_when_asked_for(
    api: Api, engineer: httpx.Client
) -> None:
    engineer.post(P, json=body(api, timedelta(0), timedelta(hours=1)))
    lifted = engineer.post(P, json=soon(api)).json()["id"]
    engineer.post(f"{P}/{lifted}/lift", json={"by": "bert"})
    api.clock.advance(2 * 3600)
    refused = engineer.post(f"{P}/1/lift", json={"by": "anna"})
    assert refused.status_code == 409
    assert "it ended by itself at" in refused.json()["detail"]
    assert engineer.get(P).json() == []
    over = engineer.get(P, params={"is_over": True}).json()
    assert [(each["id"], each["lifted_by"]) for each in over] == [(2, "bert"), (1, None)]
    assert len(engineer.get(P, params={"is_over": True, "limit": 1}).json()) == 1
    for limit in (0, -1, 1001, "x", ""):
        assert engineer.get(P, params={"limit": limit}).status_code == 422
