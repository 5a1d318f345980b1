# SPDX-License-Identifier: Apache-2.0
"""Rollouts over HTTP: what people set beforehand, a rollout of real rows, its evidence and its quarantine list."""

import csv
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from central.store.learning_tables import Package, Promotion
from central.store.repositories import stations
from contracts.reports import StationReported
from contracts.vocabulary import DetectorKind, PromotionOutcome, Role, StationState, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import STATION, make_report
from tests.central.trust.packages import make_package

P = "/api/v1"
POLICY = {"risk": "CRITICAL", "is_ahead": True, "by": "anna", "note": "brakes"}


@pytest.fixture(name="engineer")
def _engineer(api: Api) -> httpx.Client:
    return api.as_(Role.ENGINEER)


def register(api: Api, folder: Path) -> str:
    package_id = make_package(folder, "ring", "t-made", is_simulated=False)
    now = api.clock.now()
    api.services.loop.repository.publish(folder, package_id, now)
    with api.services.database.begin() as session:
        session.add(
            Package(
                package_id=package_id,
                product="ring",
                detector=DetectorKind.MIXED,
                created_at=now,
                registered_at=now,
                size_bytes=1,
                manifest=(folder / "manifest.json").read_text(),
                is_simulated=False,
            )
        )
        session.flush()
        session.add(Promotion(package_id=package_id, outcome=PromotionOutcome.PROMOTED, decided_at=now))
    return package_id


def be_heard(api: Api) -> None:
    status = StationReported(station=STATION, at=api.clock.now(), is_connected=True, state=StationState.INSPECTING)
    with api.services.database.begin() as session:
        stations.keep_status(session, status, api.clock.now())


def test_withdrawn_package_is_shown_as_that_and_not_rolled_out(
    api: Api, engineer: httpx.Client, tmp_path: Path
) -> None:
    be_heard(api)
    package_id = register(api, tmp_path / "package")
    assert engineer.get(f"{P}/packages").json()[0]["is_withdrawn"] is False
    api.services.loop.repository.withdraw(package_id, api.clock.now())
    assert engineer.get(f"{P}/packages/{package_id}").json()["is_withdrawn"] is True
    refused = engineer.post(f"{P}/rollouts", json={"package_id": package_id})
    assert refused.status_code == 409
    assert "this one was withdrawn" in refused.json()["detail"]
    assert engineer.get(f"{P}/rollouts").json() == []


def test_a_policy_is_set_shown_and_followed(api: Api, engineer: httpx.Client, tmp_path: Path) -> None:
    assert engineer.get(f"{P}/rollout-policies").json() == []
    wave: dict[str, Any] = {"scope": "SHARE", "amount": 0.5, "bake_parts": 500, "bake_s": 3600}
    costs = {"cost_of_escape": 20.0, "cost_of_overkill": 1.0}
    wave["shadow"] = {"margin": 0.01, "alpha": 0.05, **costs}
    wave["control"] = {
        "alpha": 0.01, "chunk_parts": 25, "least_chunks": 8, "tolerated_factor": 2.0, "needs_limits": True
    }  # fmt: skip
    window = {"days": ["sat", "sun"], "opens": "22:00", "closes": "04:00", "time_zone": "Europe/Berlin"}
    body = {**POLICY, "plan": {"waves": [wave], "windows": [window]}}
    made = engineer.put(f"{P}/rollout-policies/ring", json=body)
    assert made.status_code == 200, made.text
    assert made.json()["plan"]["waves"] == [{**wave, "needs_approval": False, "max_away_share": 0.0}]
    assert made.json()["plan"]["windows"] == [window]
    changed = engineer.put(f"{P}/rollout-policies/ring", json=POLICY).json()
    assert engineer.get(f"{P}/rollout-policies").json() == [changed]
    assert [each["scope"] for each in changed["plan"]["waves"]] == ["COUNT", "LINE", "SITE", "ALL"]
    # Limits are on where nobody turned them off.
    assert {each["control"]["alpha"] for each in changed["plan"]["waves"]} == {0.05}
    be_heard(api)
    package_id = register(api, tmp_path / "package")
    rollout = engineer.post(f"{P}/rollouts", json={"package_id": package_id}).json()
    api.services.loop.rollouts.tick(api.clock.now())
    shown = engineer.get(f"{P}/rollouts/{rollout['id']}").json()
    assert (shown["risk"], shown["state"]) == ("CRITICAL", "WAITING_FOR_APPROVAL")
    assert shown["waits_for"] == ["approval of wave 1 by a person"]
    stale = engineer.post(f"{P}/rollouts/{rollout['id']}/approve", json={"by": "anna", "wave": 2})
    assert stale.status_code == 409
    assert "expected the approval of wave 1, which waits, got one of wave 2" in stale.json()["detail"]
    approved = engineer.post(f"{P}/rollouts/{rollout['id']}/approve", json={"by": "anna", "wave": 1}).json()
    assert (approved["state"], approved["waves"][0]["approved_by"]) == ("RUNNING", "anna")
    again = engineer.post(f"{P}/rollouts/{rollout['id']}/approve", json={"by": "anna"})
    assert again.status_code == 409


def test_policy_of_a_product_that_nobody_knows_is_refused_unless_it_is_set_ahead(
    api: Api, engineer: httpx.Client, tmp_path: Path
) -> None:
    said = {**POLICY, "is_ahead": False}
    refused = engineer.put(f"{P}/rollout-policies/rign", json=said)
    assert refused.status_code == 404
    assert "product rign: no recipe, picture, training, package or part of it; known: none yet" in refused.text
    register(api, tmp_path / "package")
    assert "known: ring." in engineer.put(f"{P}/rollout-policies/rign", json=said).json()["detail"]
    assert engineer.put(f"{P}/rollout-policies/ring", json=said).json()["is_product_known"] is True
    assert engineer.put(f"{P}/rollout-policies/rign", json=POLICY).json()["is_product_known"] is False
    shown = {each["product"]: each["is_product_known"] for each in engineer.get(f"{P}/rollout-policies").json()}
    assert shown == {"rign": False, "ring": True}
    # What is there may be changed by whoever set it ahead.
    assert engineer.put(f"{P}/rollout-policies/rign", json=said).status_code == 200


def test_policy_whose_target_names_what_nobody_heard_of_is_refused_unless_it_is_set_ahead(
    api: Api, engineer: httpx.Client, tmp_path: Path
) -> None:
    be_heard(api)
    register(api, tmp_path / "package")
    target = {"sites": ["plant", "plnt"], "lines": ["plant/line-9"], "stations": ["plant/line-1/st-9"]}
    said = {**POLICY, "plan": {"target": target}}
    refused = engineer.put(f"{P}/rollout-policies/ring", json={**said, "is_ahead": False})
    assert refused.status_code == 404
    told = refused.json()["detail"]
    for name in ("site plnt", "line plant/line-9", "station plant/line-1/st-9"):
        assert f"{name} was never heard of" in told
    assert f"known stations: {STATION}" in told
    assert engineer.get(f"{P}/rollout-policies").json() == []
    assert engineer.put(f"{P}/rollout-policies/ring", json=said).status_code == 200


@pytest.mark.parametrize("is_heard", [True, False])
def test_policy_whose_waves_take_nobody_is_refused_as_such_a_rollout_is(
    api: Api, engineer: httpx.Client, tmp_path: Path, is_heard: bool
) -> None:
    if is_heard:
        be_heard(api)
    package_id = register(api, tmp_path / "package")
    plan = {"waves": [{"scope": "LINE"}, {"scope": "SITE"}]}
    refused = engineer.put(f"{P}/rollout-policies/ring", json={**POLICY, "plan": plan})
    assert refused.status_code == 409
    assert "; a wave of ALL takes the rest" in refused.json()["detail"]
    if is_heard:
        asked = engineer.post(f"{P}/rollouts", json={"package_id": package_id, "plan": plan})
        assert (asked.status_code, asked.json()["detail"]) == (409, refused.json()["detail"])
    assert engineer.get(f"{P}/rollout-policies").json() == []
    first = {"waves": [{"scope": "COUNT", "amount": 1}, *plan["waves"]]}
    assert engineer.put(f"{P}/rollout-policies/ring", json={**POLICY, "plan": first}).status_code == 200


@pytest.mark.parametrize(
    ("said", "of_policy"),
    [({}, (["22:00"], ["plant"])), ({"windows": []}, ([], ["plant"])), ({"target": {}}, (["22:00"], []))],
)
def test_windows_and_target_that_a_plan_leaves_unsaid_are_those_of_the_policy(
    api: Api, engineer: httpx.Client, tmp_path: Path, said: dict[str, Any], of_policy: tuple[list[str], list[str]]
) -> None:
    be_heard(api)
    package_id = register(api, tmp_path / "package")
    policy = {"target": {"sites": ["plant"]}, "windows": [{"opens": "22:00", "closes": "04:00"}]}
    assert engineer.put(f"{P}/rollout-policies/ring", json={**POLICY, "plan": policy}).status_code == 200
    asked = {"package_id": package_id, "plan": {"waves": [{"scope": "ALL"}], **said}}
    plan = engineer.post(f"{P}/rollouts", json=asked).json()["plan"]
    assert ([window["opens"] for window in plan["windows"]], plan["target"]["sites"]) == of_policy
    assert [wave["scope"] for wave in plan["waves"]] == ["ALL"]


def test_policy_is_ended_and_its_product_follows_the_settings_again(
    api: Api, engineer: httpx.Client, tmp_path: Path
) -> None:
    be_heard(api)
    package_id = register(api, tmp_path / "package")
    engineer.put(f"{P}/rollout-policies/ring", json=POLICY)
    assert engineer.delete(f"{P}/rollout-policies/rign").json()["detail"] == (
        "product rign: it has no rollout policy; products with one: ring"
    )
    assert engineer.delete(f"{P}/rollout-policies/ring").status_code == 204
    assert engineer.delete(f"{P}/rollout-policies/ring").status_code == 404
    assert engineer.get(f"{P}/rollout-policies").json() == []
    rollout = engineer.post(f"{P}/rollouts", json={"package_id": package_id}).json()
    api.services.loop.rollouts.tick(api.clock.now())
    shown = engineer.get(f"{P}/rollouts/{rollout['id']}").json()
    assert (shown["risk"], shown["state"]) == ("STANDARD", "RUNNING")


def test_rollout_that_is_made_is_201_and_one_that_is_found_200(
    api: Api, engineer: httpx.Client, tmp_path: Path
) -> None:
    be_heard(api)
    wish = {"package_id": register(api, tmp_path / "package")}
    made = engineer.post(f"{P}/rollouts", json=wish)
    found = engineer.post(f"{P}/rollouts", json=wish)
    assert (made.status_code, found.status_code) == (201, 200)
    assert found.json()["id"] == made.json()["id"]
    other = engineer.post(f"{P}/rollouts", json={**wish, "canary": 7})
    assert other.status_code == 409
    assert f"POST /rollouts/{made.json()['id']}/abort" in other.json()["detail"]


def test_refusals_say_how_it_stands_and_what_to_do(api: Api, engineer: httpx.Client, tmp_path: Path) -> None:
    be_heard(api)
    wish = {"package_id": register(api, tmp_path / "package")}
    route = f"{P}/rollouts/{engineer.post(f'{P}/rollouts', json=wish).json()['id']}"

    def told(action: str, **more: str) -> str:
        answer = engineer.post(f"{route}/{action}", json={"by": "anna", **more})
        assert answer.status_code == 409, answer.text
        return str(answer.json()["detail"])

    assert "to pause it expected RUNNING, it is READY; it waits for its first station" in told("pause")
    api.services.loop.rollouts.tick(api.clock.now())
    assert "to resume it expected PAUSED, it is RUNNING; it goes on by itself" in told("resume")
    assert f"it is not in this rollout; under way are: {STATION}" in told("set-aside", station="plant/line-1/st-9")
    assert engineer.post(f"{route}/abort", json={"by": "anna"}).status_code == 200
    assert "it is STOPPED; nothing is left to stop" in told("abort")
    assert "it is STOPPED; it is over and is not taken up again" in told("approve")
    assert "the rollout is STOPPED; it is over" in told("set-aside", station=str(STATION))


@pytest.mark.parametrize("reason", ["", " ", "\x00"])
def test_rollout_whose_reason_says_nothing_is_refused(engineer: httpx.Client, reason: str) -> None:
    answer = engineer.post(f"{P}/rollouts", json={"package_id": "a" * 64, "reason": reason})
    assert answer.status_code == 422
    assert "body.reason" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ({"waves": []}, "waves"),
        ({"waves": [{"scope": "MOON"}]}, "scope"),
        ({"waves": [{"scope": "SHARE", "amount": 2}]}, "expected a share above 0 and at most 1, got 2"),
        ({"waves": [{"scope": "COUNT", "amount": 1.5}]}, "expected a whole number of stations"),
        ({"waves": [{"scope": "ALL", "bake_part": 5}]}, "bake_part"),
        ({"wave": []}, "wave"),
        (
            {"waves": [{"scope": "ALL", "shadow": {"cost_of_escape": 10}}]},
            "expected cost_of_escape and cost_of_overkill",
        ),
        ({"waves": [{"scope": "ALL", "control": {"least_chunks": 0}}]}, "watching nothing is no success"),
        ({"windows": [{"opens": "25:00"}]}, "expected a time of day such as 22:30, got '25:00'"),
        ({"windows": [{"time_zone": "Mars/Base"}]}, "IANA"),
        ({"windows": [{"days": ["someday"]}]}, "days: expected some of"),
        ({"target": {"lines": ["ring"]}}, "lines"),
        ({"target": {"stations": ["a/b"]}}, "stations"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words_and_nothing_is_kept(
    engineer: httpx.Client, plan: dict[str, Any], why: str
) -> None:
    answer = engineer.put(f"{P}/rollout-policies/ring", json={**POLICY, "plan": plan})
    assert answer.status_code == 422
    assert why in answer.json()["detail"]
    assert engineer.get(f"{P}/rollout-policies").json() == []


def test_a_freeze_is_made_shown_and_lifted_once(api: Api, engineer: httpx.Client) -> None:
    be_heard(api)
    now = api.clock.now()
    body = {"begins": now.isoformat(), "reason": "stock-taking", "by": "anna", "site": "plant"}
    made = engineer.post(f"{P}/freezes", json={**body, "ends": (now + timedelta(days=2)).isoformat()})
    assert (made.status_code, made.json()["is_in_force"]) == (201, True)
    assert engineer.get(f"{P}/freezes").json() == [made.json()]
    lifted = engineer.post(f"{P}/freezes/1/lift", json={"by": "bert"}).json()
    assert (lifted["lifted_by"], lifted["is_in_force"]) == ("bert", False)
    assert engineer.post(f"{P}/freezes/1/lift", json={"by": "carl"}).json()["lifted_by"] == "bert"
    assert engineer.get(f"{P}/freezes").json() == []
    assert engineer.post(f"{P}/freezes/9/lift", json={"by": "carl"}).status_code == 404


def test_labels_of_a_station_are_set_whole(api: Api, engineer: httpx.Client) -> None:
    route = f"{P}/stations/{STATION}/labels"
    assert engineer.put(route, json={"labels": {"camera": "5mp"}}).status_code == 404
    be_heard(api)
    engineer.put(route, json={"labels": {"camera": "5mp", "hall": "3"}})
    assert engineer.put(route, json={"labels": {"camera": "12mp"}}).status_code == 200
    assert engineer.get(f"{P}/station-labels").json() == [{"station": str(STATION), "labels": {"camera": "12mp"}}]
    assert engineer.put(route, json={"labels": {"Camera!": "x"}}).status_code == 422
    engineer.put(route, json={"labels": {}})
    assert engineer.get(f"{P}/station-labels").json() == []


def test_a_rollout_takes_a_plan_or_a_canary_and_not_both(engineer: httpx.Client) -> None:
    answer = engineer.post(f"{P}/rollouts", json={"package_id": "a" * 64, "canary": 2, "plan": {}})
    assert answer.status_code == 422
    assert "expected either `canary` or `plan`, got both" in answer.json()["detail"]


def test_an_aborted_rollout_shows_its_evidence_and_lists_the_parts_that_it_let_pass(
    api: Api, engineer: httpx.Client, tmp_path: Path
) -> None:
    be_heard(api)
    package_id = register(api, tmp_path / "package")
    rollout_id = engineer.post(f"{P}/rollouts", json={"package_id": package_id}).json()["id"]
    api.services.loop.rollouts.tick(api.clock.now())
    verdicts = [Verdict.OK] * 1203 + [Verdict.NG] * 2
    api.store(
        *(
            make_report(number, verdict, package_id=package_id, part_id=f"=part {number}", product="ring").model_copy(
                update={"score": number % 97 / 97}
            )
            for number, verdict in enumerate(verdicts, 1)
        )
    )
    waits = engineer.get(f"{P}/rollouts/{rollout_id}").json()["waits_for"]
    assert waits[0].startswith(f"{STATION} ASSIGNED since ")
    aborted = engineer.post(f"{P}/rollouts/{rollout_id}/abort", json={"by": "anna"}).json()
    assert (aborted["state"], aborted["waits_for"]) == ("STOPPED", [])
    exposure = engineer.get(f"{P}/rollouts/{rollout_id}/exposure").json()
    assert (exposure["parts"], exposure["passed"]) == (1205, 1203)
    evidence = engineer.get(f"{P}/rollouts/{rollout_id}/evidence").json()
    assert evidence["exposure"] == exposure
    assert evidence["rollout"] == aborted
    assert [line for step in evidence["steps"] for line in step["lines"]] == aborted["history"]
    answer = engineer.get(f"{P}/rollouts/{rollout_id}/quarantine.csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="quarantine-rollout-{rollout_id}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 1203
    assert {row["station"] for row in rows} == {str(STATION)}
    # What a spreadsheet would take for a formula is written as text.
    assert {row["part_id"] for row in rows} == {f"'=part {number}" for number in range(1, 1204)}
    nearest = engineer.get(f"{P}/rollouts/{rollout_id}/quarantine", params={"limit": 500}).json()
    scores = [part["score"] for part in nearest]
    assert len(scores) == 500
    assert scores == sorted((float(row["score"]) for row in rows), reverse=True)[:500]
    assert len(set(scores)) > 1
    elsewhere = engineer.get(f"{P}/rollouts/{rollout_id}/quarantine", params={"station": "plant-1/line-1/st-9"})
    assert elsewhere.status_code == 404
    assert f"rollout {rollout_id} has not touched it; touched are: {STATION}" in elsewhere.json()["detail"]
    here = engineer.get(f"{P}/rollouts/{rollout_id}/quarantine", params={"station": str(STATION), "limit": 7})
    assert here.json() == nearest[:7]
    for what in ("exposure", "evidence", "quarantine", "quarantine.csv"):
        assert engineer.get(f"{P}/rollouts/99/{what}").status_code == 404


def test_station_named_twice_is_refused(api: Api, engineer: httpx.Client, tmp_path: Path) -> None:
    be_heard(api)
    wish = {"package_id": register(api, tmp_path / "package"), "stations": [str(STATION), str(STATION)]}
    answer = engineer.post(f"{P}/rollouts", json=wish)
    assert answer.status_code == 422
    assert f"stations: expected each station once, got twice or more: {STATION}" in answer.text
    assert engineer.get(f"{P}/rollouts").json() == []


@pytest.mark.parametrize(("field", "value"), [("bake_s", "3600"), ("amount", True), ("needs_approval", "yes")])
def test_number_that_is_written_as_text_is_refused(engineer: httpx.Client, field: str, value: object) -> None:
    wave = {"scope": "COUNT", field: value}
    said = engineer.put(f"{P}/rollout-policies/ring", json={**POLICY, "plan": {"waves": [wave]}})
    assert said.status_code == 422
    assert field in said.text
    wave[field] = 3600 if field == "bake_s" else 1 if field == "amount" else True
    assert engineer.put(f"{P}/rollout-policies/ring", json={**POLICY, "plan": {"waves": [wave]}}).status_code == 200
