# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from typing import Any

import httpx
import pytest

from central.services.recipes import RecipeService
from central.store.learning_tables import Package
from central.store.repositories import stations
from contracts.recipes import ActiveRecipe, RefusedRecipe
from contracts.reports import ActivePackage, StationFault, StationReported
from contracts.vocabulary import DetectorKind, Role, StationState, Variant
from tests.central.api.conftest import Api
from tests.central.conftest import PACKAGE, STATION
from tests.edge.station_fakes import manifest_of

PIN = f"/api/v1/stations/{STATION}/recipes/ring/pin"
PRODUCT = f"/api/v1/stations/{STATION}/product"


@pytest.fixture(name="engineer")
def _engineer(api: Api) -> httpx.Client:
    hear(api)
    return api.as_(Role.ENGINEER)


def hear(
    api: Api, *, recipe: ActiveRecipe | None = None, faults: tuple[str, ...] = (), is_connected: bool = True
) -> None:
    now = api.clock.now()
    status = StationReported(
        station=STATION,
        at=now,
        is_connected=is_connected,
        state=StationState.INSPECTING,
        recipe=recipe,
        active=[ActivePackage(product="ring", package_id=PACKAGE, variant=Variant.FP32, provider="CPU")],
        faults=[StationFault(code=code, message="no", since=now) for code in faults],
    )
    with api.services.database.begin() as session:
        stations.keep_status(session, status, now)


def make(client: httpx.Client, based_on: int | None = None, product: str = "ring", **document: Any) -> httpx.Response:
    body = {"document": document, "based_on": based_on, "note": "a reason", "by": "anna"}
    return client.post(f"/api/v1/recipes/{product}", json=body)


def station(client: httpx.Client) -> dict[str, Any]:
    (shown,) = client.get("/api/v1/stations").json()
    found: dict[str, Any] = shown
    return found


def test_version_is_made_listed_and_read(engineer: httpx.Client) -> None:
    assert engineer.get("/api/v1/recipes").json() == []
    made = make(engineer, deadline_ms=90, region={"xywh": [0, 0, 64, 64]})
    assert made.status_code == 201
    shown = made.json()
    assert (shown["version"], shown["created_by"], shown["note"], shown["warnings"]) == (1, "anna", "a reason", [])
    assert engineer.get("/api/v1/recipes/ring/1").json() == shown
    (product,) = engineer.get("/api/v1/recipes").json()
    assert [each["version"] for each in product["versions"]] == [1]
    (where,) = product["stations"]
    assert (where["station"], where["version"], where["number"], where["is_pinned"]) == (str(STATION), 1, 1, False)


def test_history_is_newest_first_with_what_each_version_changed(engineer: httpx.Client) -> None:
    make(engineer, deadline_ms=90)
    make(engineer, 1, deadline_ms=80, guard={"min_sharpness": 4})
    engineer.post("/api/v1/recipes/ring/1/restore", json={"note": "back"}).raise_for_status()
    history = engineer.get("/api/v1/recipes/ring").json()
    assert [each["version"] for each in history["versions"]] == [3, 2, 1]
    assert [each["compared_with"] for each in history["versions"]] == [2, 1, None]
    assert history["versions"][1]["changes"] == [
        {"field": "deadline_ms", "old": 90.0, "new": 80.0},
        {"field": "guard.min_sharpness", "old": 0.0, "new": 4.0},
    ]
    assert history["versions"][0]["restored_from"] == 1
    (newest,) = engineer.get("/api/v1/recipes/ring", params={"limit": 1}).json()["versions"]
    assert newest == history["versions"][0]
    # Without a name in the body the token's stands.
    assert history["versions"][0]["created_by"] == "test-engineer"


def test_first_recipe_of_a_station_is_compared_with_that_of_all(engineer: httpx.Client) -> None:
    make(engineer, deadline_ms=90)
    body = {"document": {"deadline_ms": 90, "region": {"xywh": [5, 5, 64, 64]}}, "note": "camera stands lower"}
    made = engineer.post("/api/v1/recipes/ring", params={"station": str(STATION)}, json=body)
    assert (made.status_code, made.json()["station"]) == (201, str(STATION))
    make(engineer, 1, deadline_ms=80)
    history = engineer.get("/api/v1/recipes/ring", params={"station": str(STATION)}).json()
    (only,) = history["versions"]
    assert (only["version"], only["compared_with"]) == (2, 1)
    assert [each["field"] for each in only["changes"]] == ["region.xywh"]
    assert station(engineer)["recipes"]["versions"] == {"ring": 2}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"document": {"deadline_ms": -1}, "note": "x"}, "document: deadline_ms: "),
        ({"document": {"deadlin": 1}, "note": "x"}, "document: deadlin: no such field"),
        ({"document": {"deadline_ms": 5}}, "body.note"),
        ({"document": {"deadline_ms": 5}, "note": "  "}, "body.note"),
        ({"document": [], "note": "x"}, "body.document"),
    ],
)
def test_refusal_names_the_field_and_stores_nothing(engineer: httpx.Client, body: dict[str, Any], said: str) -> None:
    answer = engineer.post("/api/v1/recipes/ring", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert engineer.get("/api/v1/recipes").json() == []


def test_version_that_came_in_between_is_a_conflict(engineer: httpx.Client) -> None:
    make(engineer, deadline_ms=90)
    assert make(engineer, deadline_ms=80).status_code == 409
    assert make(engineer, 1, deadline_ms=80).status_code == 201
    assert make(engineer, 1, deadline_ms=70).status_code == 409


def test_what_is_not_there_is_said(engineer: httpx.Client) -> None:
    make(engineer, deadline_ms=90)
    assert "known: ring" in engineer.get("/api/v1/recipes/gear").json()["detail"]
    assert engineer.get("/api/v1/recipes/ring/9").status_code == 404
    assert engineer.post("/api/v1/recipes/ring/9/restore", json={"note": "x"}).status_code == 404
    elsewhere = {"station": "plant/line-1/st-9"}
    body = {"document": {"deadline_ms": 5}, "note": "x"}
    assert engineer.post("/api/v1/recipes/ring", params=elsewhere, json=body).status_code == 404
    assert engineer.post("/api/v1/recipes/ring", params={"station": "here"}, json=body).status_code == 422


def test_looser_limits_than_the_packages_are_flagged_in_answer_and_history(api: Api, engineer: httpx.Client) -> None:
    manifest = manifest_of("ring")
    with api.services.database.begin() as session:
        session.add(
            Package(
                package_id=PACKAGE,
                product="ring",
                detector=DetectorKind.MIXED,
                created_at=api.clock.now(),
                registered_at=api.clock.now(),
                size_bytes=1,
                manifest=manifest.model_dump_json(),
                is_simulated=True,
            )
        )
    own = manifest.limits
    limits = {"package_id": PACKAGE, "ok_limit": own.ok_limit, "ng_limit": own.ng_limit + 1}
    (warning,) = make(engineer, limits=limits).json()["warnings"]
    assert warning.startswith("limits.ng_limit: ")
    assert engineer.get("/api/v1/recipes/ring").json()["versions"][0]["warnings"] == [warning]
    tighter = {**limits, "ng_limit": own.ng_limit}
    assert make(engineer, 1, limits=tighter).json()["warnings"] == []


def test_pinned_station_is_shown_so_until_it_is_unpinned(engineer: httpx.Client) -> None:
    make(engineer, deadline_ms=90)
    make(engineer, 1, deadline_ms=80)
    pinned = engineer.put(PIN, json={"version": 1, "note": "until the lens is changed", "by": "ben"}).json()
    assert (pinned["version"], pinned["is_pinned"], pinned["number"]) == (1, True, 3)
    assert station(engineer)["recipes"]["versions"] == {"ring": 1}
    unpinned = engineer.delete(PIN, params={"note": "changed"}).json()
    assert (unpinned["version"], unpinned["is_pinned"]) == (2, False)
    assert engineer.delete(PIN, params={"note": "again"}).status_code == 404
    assert engineer.delete(PIN).status_code == 422
    deeds = engineer.get("/api/v1/recipes/ring").json()["deeds"]
    assert [(deed["act"], deed["by"]) for deed in deeds] == [("UNPINNED", "test-engineer"), ("PINNED", "ben")]


def test_sync_says_when_a_station_does_not_take_its_recipes(api: Api, engineer: httpx.Client) -> None:
    assert (station(engineer)["sync"], station(engineer)["recipes"]) == ("REGISTERED", None)
    make(engineer, deadline_ms=90)
    assert station(engineer)["recipes"]["sync"] == "UNKNOWN"
    hear(api, recipe=ActiveRecipe(product="ring", version=0, number=0))
    assert (station(engineer)["recipes"]["sync"], station(engineer)["sync"]) == ("PENDING", "PENDING")
    hear(api, recipe=ActiveRecipe(number=0), faults=("recipes-refused",))
    assert (station(engineer)["recipes"]["sync"], station(engineer)["sync"]) == ("ERROR", "ERROR")
    hear(api, recipe=ActiveRecipe(number=0))
    api.clock.advance(61)
    hear(api, is_connected=False)
    assert station(engineer)["recipes"]["sync"] == "PENDING"
    hear(api, recipe=ActiveRecipe(number=0))
    assert station(engineer)["recipes"]["sync"] == "ERROR"
    hear(api, recipe=ActiveRecipe(product="ring", version=1, number=1))
    assert (station(engineer)["recipes"]["sync"], station(engineer)["sync"]) == ("IN_SYNC", "REGISTERED")
    (where,) = engineer.get("/api/v1/recipes").json()[0]["stations"]
    assert (where["reported_version"], where["product_now"], where["reported_number"]) == (1, "ring", 1)


def test_changeover_is_asked_for_and_left_to_the_station_to_confirm(api: Api, engineer: httpx.Client) -> None:
    assert engineer.post(PRODUCT, json={"product": "ring"}).status_code == 409
    hear(api, recipe=ActiveRecipe(product="gear"))
    connected = RecipeService(api.services.database, api.services.gateway, lambda: True)
    api.services.loop = replace(api.services.loop, recipes=connected)
    answer = engineer.post(PRODUCT, json={"product": "ring", "by": "anna"})
    assert answer.status_code == 202
    asked = answer.json()
    assert (asked["product"], asked["product_before"], asked["warnings"]) == ("ring", "gear", [])
    assert "next status" in asked["confirmed_by"]
    assert engineer.post(PRODUCT, json={"product": "nut"}).status_code == 409
    hear(api, is_connected=False)
    refused = engineer.post(PRODUCT, json={"product": "ring"})
    assert (refused.status_code, "it is offline" in refused.json()["detail"]) == (409, True)


def test_recipe_that_a_station_refuses_alone_is_shown_with_its_reason(api: Api, engineer: httpx.Client) -> None:
    make(engineer, deadline_ms=90)
    make(engineer, product="gear", deadline_ms=90)
    refused = RefusedRecipe(product="ring", version=1, reason="no output opcua", follows=0)
    hear(api, recipe=ActiveRecipe(product="gear", version=1, number=2, refused=[refused]))
    products = engineer.get("/api/v1/recipes").json()
    shown = {each["product"]: each["stations"][0] for each in products}
    told = {name: (each["sync"], each["refused_version"], each["refusal"]) for name, each in shown.items()}
    assert told == {"gear": ("IN_SYNC", None, None), "ring": ("ERROR", 1, "no output opcua")}
    assert station(engineer)["recipes"]["sync"] == "ERROR"
    assert station(engineer)["status"]["recipe"]["refused"][0]["reason"] == "no output opcua"


def test_station_that_its_lines_controller_leads_is_not_asked_for_a_product(api: Api, engineer: httpx.Client) -> None:
    hear(api, recipe=ActiveRecipe(product="gear", is_led=True))
    answer = engineer.post(PRODUCT, json={"product": "ring"})
    assert answer.status_code == 409
    assert "line's controller says what it makes" in answer.json()["detail"]


def test_outputs_of_a_recipe_are_read_strictly(engineer: httpx.Client) -> None:
    for outputs, said in (
        ([{"kind": "relay"}], "outputs.0.kind"),
        ([{"kind": "mqtt", "pulse_ms": 40}], "takes no times"),
        ([{"kind": "modbus", "delay_ms": 3, "speed_mm_s": 5}], "expected one of delay_ms"),
        ([{"kind": "modbus"}, {"kind": "modbus"}], "expected each kind once"),
        ([{"kind": "modbus", "pulse": 40}], "outputs.0.pulse: no such field"),
    ):
        answer = make(engineer, outputs=outputs)
        assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
    made = make(engineer, outputs=[{"kind": "modbus", "pulse_ms": 40}, {"kind": "mqtt"}])
    assert made.status_code == 201
    changes = engineer.get("/api/v1/recipes/ring").json()["versions"][0]["changes"]
    assert {"field": "outputs.0.pulse_ms", "old": None, "new": 40.0} in changes
