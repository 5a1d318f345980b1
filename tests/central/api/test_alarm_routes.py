# SPDX-License-Identifier: Apache-2.0
"""Routes of alarms over the API and the command line: set, shown, tried, ended; no secret in any answer."""

from pathlib import Path
from typing import Any

import pytest

from central.__main__ import main
from central.services.alarms.delivering import AlarmDelivering
from central.services.alarms.rows import Signal, raise_alarm
from contracts.vocabulary import AlarmKind, Role
from tests.central.api.conftest import Api
from tests.fakes.receivers import hook_server, new_hook

P = "/api/v1/alarm-routes"


def _body(url: str = "http://127.0.0.1:1/hook", **changes: Any) -> dict[str, Any]:
    route = {"kind": "WEBHOOK", "target": {"url": url}, **changes}
    return {"route": route, "by": "anna", "note": "the night shift asked"}


def _raise(api: Api, kind: AlarmKind = AlarmKind.DRIFT) -> None:
    with api.services.database.begin() as session:
        signal = Signal(kind, "darker", "look", is_simulated=False, station="plant/line-1/st-1")
        raise_alarm(session, signal, api.clock.now())


def _round(api: Api) -> int:
    service = AlarmDelivering(api.services.database, api.services.loop.alarm_sender, api.clock)
    service.take_in(api.clock.now())
    return service.deliver("night")


def test_a_route_is_made_changed_listed_and_ended(api: Api) -> None:
    admin = api.as_(Role.ADMIN)
    quiet = [{"days": ["sat", "sun"], "begins": "18:00", "ends": "08:00"}]
    made = admin.put(f"{P}/night", json=_body(quiet=quiet, time_zone="Europe/Berlin")).json()
    assert made["route"]["quiet"] == quiet
    assert (made["route"]["break_through"], made["route"]["filter"]["is_simulated"]) == ("CRITICAL", False)
    assert (made["is_failing"], made["held"], made["waiting"], made["unsaid"]) == (False, 0, 0, 0)
    admin.put(f"{P}/night", json=_body(is_enabled=False))
    (seen,) = api.as_(Role.ENGINEER).get(P).json()
    assert (seen["name"], seen["route"]["is_enabled"], seen["changed_by"]) == ("night", False, "anna")
    assert admin.delete(f"{P}/night").status_code == 204
    assert admin.delete(f"{P}/night").status_code == 404
    assert admin.get(P).json() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": {}}, "url: expected http://HOST"),
        ({"target": {"url": "http://h/", "password": "x"}}, "password"),
        ({"time_zone": "Europe/Atlantis"}, "IANA"),
        ({"quiet": [{"begins": "25:00"}]}, "begins: expected a time of day"),
        ({"reminders": {"most": 1000}}, "most: expected 0 … 100, got 1000"),
        ({"filter": {"kinds": ["GREMLINS"]}}, "ESCAPES"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_route_that_cannot_work_is_refused_with_what_was_expected(
    api: Api, changes: dict[str, Any], said: str
) -> None:
    answer = api.as_(Role.ADMIN).put(f"{P}/night", json=_body(**changes))
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert api.as_(Role.ADMIN).get(P).json() == []


def test_a_route_that_fails_shows_on_its_page_and_in_the_metrics_until_it_is_mended(api: Api) -> None:
    admin = api.as_(Role.ADMIN)
    admin.put(f"{P}/night", json=_body())
    _raise(api)
    assert _round(api) == 0
    (seen,) = admin.get(P).json()
    assert (seen["is_failing"], seen["waiting"], seen["failures"]) == (True, 1, 1)
    assert seen["last_error"].startswith("webhook 127.0.0.1: ConnectError")
    metrics = api.as_(Role.VIEWER).get("/metrics").text
    assert 'sightline_central_alarm_route_failing{route="night"} 1' in metrics
    assert 'sightline_central_alarm_route_undelivered{route="night"} 1' in metrics
    (delivery,) = admin.get(f"{P}/night/deliveries").json()
    assert (delivery["event"], delivery["state"], delivery["attempts"]) == ("RAISED", "WAITING", 1)
    # Mended by a person, it is tried at once, not when the wait is over.
    with hook_server(new_hook()) as hook:
        assert _round(api) == 0
        admin.put(f"{P}/night", json=_body(hook.url))
        assert _round(api) == 1
    assert hook.posts[0].headers["webhook-id"] == delivery["message_id"]
    (seen,) = admin.get(P).json()
    assert (seen["is_failing"], seen["waiting"], seen["last_error"]) == (False, 0, None)
    assert 'alarm_route_failing{route="night"} 0' in api.as_(Role.VIEWER).get("/metrics").text
    assert admin.get(f"{P}/night/deliveries").json()[0]["state"] == "SENT"
    assert admin.get(f"{P}/nobody/deliveries").status_code == 404


def test_what_is_held_in_quiet_hours_is_counted_and_ending_the_route_drops_it(api: Api) -> None:
    admin = api.as_(Role.ADMIN)
    admin.put(f"{P}/night", json=_body(quiet=[{"begins": "00:00", "ends": "23:00"}]))
    _raise(api)
    assert _round(api) == 0
    assert [(seen["held"], seen["waiting"]) for seen in admin.get(P).json()] == [(1, 0)]
    assert admin.delete(f"{P}/night").status_code == 204
    admin.put(f"{P}/night", json=_body())
    assert admin.get(f"{P}/night/deliveries").json() == []
    assert len(api.as_(Role.VIEWER).get("/api/v1/alarms").json()) == 1


def test_a_test_tells_its_outcome_and_leaves_no_trace(api: Api) -> None:
    admin = api.as_(Role.ADMIN)
    with hook_server(new_hook()) as hook:
        admin.put(f"{P}/night", json=_body(hook.url, quiet=[{"begins": "00:00", "ends": "00:00"}]))
        good = admin.post(f"{P}/night/test", json={"by": "anna"}).json()
        assert good == {"has_arrived": True, "text": "route night: webhook 127.0.0.1 answered 204"}
        assert hook.posts[0].document["kind"] == "TEST"
        hook.status = 500
        bad = admin.post(f"{P}/night/test", json={"by": "anna"}).json()
    assert bad["has_arrived"] is False
    assert bad["text"] == "route night: not sent: webhook 127.0.0.1: expected an answer 2xx, got 500"
    assert admin.get(P).json()[0]["is_failing"] is False
    assert admin.post(f"{P}/nobody/test", json={"by": "anna"}).status_code == 404


def test_the_command_line_tests_a_route_in_one_line(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "central")
    with hook_server(new_hook()) as hook:
        api.as_(Role.ADMIN).put(f"{P}/night", json=_body(hook.url))
        assert main(["alarms", "test-route", "night", "--data", data]) == 0
        assert capsys.readouterr().out == "route night: webhook 127.0.0.1 answered 204\n"
    assert main(["alarms", "test-route", "night", "--data", data]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("route night: not sent: webhook 127.0.0.1: ConnectError")
    assert said.out.count("\n") == 1
    assert main(["alarms", "test-route", "day", "--data", data]) == 2
    assert "route day: no such route; there are: night" in capsys.readouterr().err


def test_secrets_of_settings_are_in_no_answer_and_in_no_table(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "a-secret-of-the-plant"
    monkeypatch.setenv("SIGHTLINE_CENTRAL_ALARMS_WEBHOOK_KEYS", f"erp={secret}")
    with hook_server(new_hook()) as hook:
        answer = api.as_(Role.ADMIN).put(f"{P}/night", json=_body(target={"url": hook.url, "key": "erp"}))
        assert main(["alarms", "test-route", "night", "--data", str(tmp_path / "central")]) == 0
        assert hook.posts[0].headers["webhook-signature"].startswith("v1,")
    assert secret not in answer.text + capsys.readouterr().out
    with api.services.database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT * FROM alarm_route").all()
    assert secret not in str(rows)
