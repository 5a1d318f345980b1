# SPDX-License-Identifier: Apache-2.0
"""Every route against every role. A new route fails here until somebody writes down who may call it."""

from collections.abc import Iterable
from typing import Any

import pytest
from fastapi.routing import APIRoute

from central.api.auth import ROLE_ORDER, may
from contracts.vocabulary import Role
from tests.central.api.conftest import Api

OPEN = "open"
STATION_ONLY = "station"
# (method, path) → the lowest role that may; "+station": stations too.
RIGHTS = {
    ("GET", "/health"): OPEN,
    ("GET", "/ready"): OPEN,
    ("GET", "/api/v1/health"): OPEN,
    ("GET", "/api/v1/ready"): OPEN,
    ("GET", "/metrics"): "VIEWER",
    ("GET", "/api/v1/stations"): "VIEWER",
    ("GET", "/api/v1/inspections"): "VIEWER",
    ("GET", "/api/v1/inspections/{site}/{line}/{station}/{epoch}/{sequence}"): "VIEWER",
    ("GET", "/api/v1/shadow"): "VIEWER",
    ("GET", "/api/v1/drift"): "VIEWER",
    ("GET", "/api/v1/drift/novelty"): "VIEWER",
    ("GET", "/api/v1/quality/rates"): "VIEWER",
    ("GET", "/api/v1/quality/timeline"): "VIEWER",
    ("GET", "/api/v1/quality/charts"): "VIEWER",
    ("GET", "/api/v1/quality/figures"): "VIEWER",
    ("GET", "/api/v1/quality/attribute-charts"): "VIEWER",
    ("GET", "/api/v1/quality/memory-charts"): "VIEWER",
    ("GET", "/api/v1/quality/hints"): "VIEWER",
    ("GET", "/api/v1/reports/shift.pdf"): "VIEWER",
    ("GET", "/api/v1/reports/shift.csv"): "VIEWER",
    ("GET", "/api/v1/quality/agreement"): "VIEWER",
    ("POST", "/api/v1/evidence"): STATION_ONLY,
    ("POST", "/api/v1/evidence/unavailable"): STATION_ONLY,
    ("PUT", "/api/v1/evidence/{sha256}"): STATION_ONLY,
    ("GET", "/api/v1/evidence/{sha256}"): "VIEWER",
    ("GET", "/api/v1/audits"): "INSPECTOR",
    ("GET", "/api/v1/audits/next"): "INSPECTOR",
    ("GET", "/api/v1/audits/parts"): "ADMIN",
    ("GET", "/api/v1/audits/{audit_id}/picture"): "INSPECTOR",
    ("GET", "/api/v1/audits/summary"): "VIEWER",
    ("POST", "/api/v1/audits/{audit_id}/outcome"): "INSPECTOR",
    ("GET", "/api/v1/audits/shifts"): "VIEWER",
    ("POST", "/api/v1/audits/shifts/{shift_id}/resume"): "ENGINEER",
    ("GET", "/api/v1/alarms"): "VIEWER",
    ("GET", "/api/v1/alarms/{alarm_id}"): "VIEWER",
    ("POST", "/api/v1/alarms/{alarm_id}/acknowledge"): "INSPECTOR",
    ("POST", "/api/v1/alarms/{alarm_id}/cause"): "INSPECTOR",
    ("POST", "/api/v1/alarms/{alarm_id}/close"): "ENGINEER",
    ("GET", "/api/v1/alarm-routes"): "ENGINEER",
    ("PUT", "/api/v1/alarm-routes/{name}"): "ADMIN",
    ("DELETE", "/api/v1/alarm-routes/{name}"): "ADMIN",
    ("GET", "/api/v1/alarm-routes/{name}/deliveries"): "ENGINEER",
    ("POST", "/api/v1/alarm-routes/{name}/test"): "ADMIN",
    ("POST", "/api/v1/products/{product}/reference-parts"): "ENGINEER",
    ("GET", "/api/v1/products/{product}/labels"): "VIEWER",
    ("GET", "/api/v1/datasets"): "VIEWER",
    ("GET", "/api/v1/datasets/{dataset_id}"): "VIEWER",
    ("GET", "/api/v1/datasets/{dataset_id}/manifest.parquet"): "VIEWER",
    ("GET", "/api/v1/datasets/{dataset_id}/labels.csv"): "VIEWER",
    ("POST", "/api/v1/datasets/{dataset_id}/suspects"): "ENGINEER",
    ("GET", "/api/v1/trainings"): "VIEWER",
    ("POST", "/api/v1/trainings"): "ENGINEER",
    ("GET", "/api/v1/trainings/queue"): "VIEWER",
    ("GET", "/api/v1/trainings/costs"): "VIEWER",
    ("GET", "/api/v1/trainings/{training_id}/attempts"): "VIEWER",
    ("GET", "/api/v1/trainings/decisions"): "VIEWER",
    ("GET", "/api/v1/trainings/{training_id}"): "VIEWER",
    ("GET", "/api/v1/trainings/{training_id}/log"): "VIEWER",
    ("POST", "/api/v1/trainings/{training_id}/cancel"): "ENGINEER",
    ("GET", "/api/v1/experiments"): "VIEWER",
    ("GET", "/api/v1/experiments/compare"): "VIEWER",
    ("GET", "/api/v1/experiments/{training_id}"): "VIEWER",
    ("GET", "/api/v1/packages"): "VIEWER",
    ("GET", "/api/v1/packages/{package_id}"): "VIEWER",
    ("GET", "/api/v1/gates"): "VIEWER",
    ("GET", "/api/v1/gates/{package_id}"): "VIEWER",
    ("GET", "/api/v1/gates/{package_id}/evidence.json"): "VIEWER",
    ("POST", "/api/v1/gates/{package_id}/overrule"): "ENGINEER",
    ("GET", "/api/v1/gate-policies"): "VIEWER",
    ("PUT", "/api/v1/gate-policies/{product}"): "ENGINEER",
    ("GET", "/api/v1/lineage/packages/{package_id}"): "VIEWER",
    ("GET", "/api/v1/lineage/stations/{site}/{line}/{station}"): "VIEWER",
    ("GET", "/api/v1/lineage/datasets/{dataset_id}"): "VIEWER",
    ("GET", "/api/v1/lineage/pictures/{sha256}"): "VIEWER",
    ("GET", "/api/v1/lineage/inspections/{site}/{line}/{station}/{epoch}/{sequence}"): "VIEWER",
    ("GET", "/api/v1/rollouts"): "VIEWER",
    ("POST", "/api/v1/rollouts"): "ENGINEER",
    ("GET", "/api/v1/rollouts/{rollout_id}"): "VIEWER",
    ("POST", "/api/v1/rollouts/{rollout_id}/pause"): "ENGINEER",
    ("POST", "/api/v1/rollouts/{rollout_id}/resume"): "ENGINEER",
    ("POST", "/api/v1/rollouts/{rollout_id}/abort"): "ENGINEER",
    ("POST", "/api/v1/rollouts/{rollout_id}/approve"): "ENGINEER",
    ("POST", "/api/v1/rollouts/{rollout_id}/set-aside"): "ENGINEER",
    ("GET", "/api/v1/rollouts/{rollout_id}/exposure"): "VIEWER",
    ("GET", "/api/v1/rollouts/{rollout_id}/evidence"): "VIEWER",
    ("GET", "/api/v1/rollouts/{rollout_id}/quarantine"): "VIEWER",
    ("GET", "/api/v1/rollouts/{rollout_id}/quarantine.csv"): "VIEWER",
    ("GET", "/api/v1/rollout-policies"): "VIEWER",
    ("PUT", "/api/v1/rollout-policies/{product}"): "ENGINEER",
    ("DELETE", "/api/v1/rollout-policies/{product}"): "ENGINEER",
    ("GET", "/api/v1/freezes"): "VIEWER",
    ("POST", "/api/v1/freezes"): "ENGINEER",
    ("POST", "/api/v1/freezes/{freeze_id}/lift"): "ENGINEER",
    ("GET", "/api/v1/station-labels"): "VIEWER",
    ("PUT", "/api/v1/stations/{site}/{line}/{station}/labels"): "ENGINEER",
    ("GET", "/api/v1/recipes"): "VIEWER",
    ("GET", "/api/v1/recipes/{product}"): "VIEWER",
    ("POST", "/api/v1/recipes/{product}"): "ENGINEER",
    ("GET", "/api/v1/recipes/{product}/{version}"): "VIEWER",
    ("POST", "/api/v1/recipes/{product}/{version}/restore"): "ENGINEER",
    ("PUT", "/api/v1/stations/{site}/{line}/{station}/recipes/{product}/pin"): "ENGINEER",
    ("DELETE", "/api/v1/stations/{site}/{line}/{station}/recipes/{product}/pin"): "ENGINEER",
    ("POST", "/api/v1/stations/{site}/{line}/{station}/product"): "ENGINEER",
    ("GET", "/api/v1/tuf/metadata/{name}"): "VIEWER+station",
    ("GET", "/api/v1/tuf/targets/{package_id}/{file}"): "VIEWER+station",
    ("GET", "/api/v1/tuf/targets/{product}/{package_id}/{file}"): "VIEWER+station",
    ("GET", "/api/v1/admin/counters"): "VIEWER",
    ("GET", "/api/v1/admin/tokens"): "ADMIN",
    ("POST", "/api/v1/admin/tokens"): "ADMIN",
    ("DELETE", "/api/v1/admin/tokens/{name}"): "ADMIN",
}
_FILLED = {
    "{site}": "plant",
    "{line}": "line-1",
    "{station}": "st-1",
    "{epoch}": "1",
    "{sequence}": "1",
    "{sha256}": "a" * 64,
    "{package_id}": "a" * 64,
    "{product}": "ring",
    "{version}": "1",
    "{training_id}": "t-1",
    "{rollout_id}": "1",
    "{freeze_id}": "1",
    "{alarm_id}": "1",
    "{audit_id}": "1",
    "{shift_id}": "1",
    "{name}": "somebody",
    "{file}": "manifest.json",
}


def _routes(routes: Iterable[Any], prefix: str = "") -> set[tuple[str, str]]:
    """Every (method, path) that the application answers, those outside the OpenAPI document too."""
    found = set()
    for route in routes:
        if isinstance(route, APIRoute):
            found |= {(method, prefix + route.path) for method in route.methods or ()}
        else:
            # What FastAPI keeps of `include_router`. Anything else (a mount, a websocket) fails here, on purpose.
            found |= _routes(route.original_router.routes, prefix + route.include_context.prefix)
    return found


def _path(path: str) -> str:
    for placeholder, value in _FILLED.items():
        path = path.replace(placeholder, value)
    return path


def _is_allowed(role: Role, right: str) -> bool:
    if right == OPEN:
        return True
    if right == STATION_ONLY:
        return role is Role.STATION
    minimum, _, also = right.partition("+")
    if role is Role.STATION:
        return also == "station"
    return ROLE_ORDER.index(role) >= ROLE_ORDER.index(Role(minimum))


def test_every_route_is_in_the_table_and_the_table_names_no_other(api: Api) -> None:
    assert _routes(api.app.routes) == set(RIGHTS)


def test_only_health_is_open_and_no_writing_route(api: Api) -> None:
    opened = {route for route, right in RIGHTS.items() if right == OPEN}
    assert {method for method, _ in opened} == {"GET"}
    for (method, path), right in RIGHTS.items():
        answer = api.anonymous.request(method, _path(path))
        if right != OPEN:
            assert answer.status_code == 401, (method, path)
            assert set(answer.json()) == {"error", "detail"}
        else:
            assert answer.status_code in (200, 503)


@pytest.mark.parametrize("role", list(Role))
def test_each_route_lets_exactly_the_right_roles_in(api: Api, role: Role) -> None:
    client = api.as_(role)
    for (method, path), right in RIGHTS.items():
        answer = client.request(method, _path(path))
        refused = answer.status_code == 403
        assert refused != _is_allowed(role, right), (method, path, role, answer.status_code, answer.text)
        # With nothing behind the made-up ids an allowed call may fail, but never by the server's fault.
        assert answer.status_code < 500 or right == OPEN, (method, path, answer.text)
        if answer.status_code >= 400 and right != OPEN:
            assert set(answer.json()) == {"error", "detail"}, (method, path)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({}, "none"),
        ({"Authorization": "Bearer sl_wrong"}, "unknown"),
        ({"Authorization": "Basic YWRtaW46YWRtaW4="}, "none"),
        ({"Authorization": "Bearer"}, "none"),
    ],
)
def test_request_without_a_good_token_is_told_how_to_get_one(api: Api, header: dict[str, str], why: str) -> None:
    answer = api.anonymous.get("/api/v1/stations", headers=header)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert why in answer.json()["detail"]


def test_revoked_token_is_refused_at_once_and_its_name_is_free_again(api: Api) -> None:
    admin = api.as_(Role.ADMIN)
    made = admin.post("/api/v1/admin/tokens", json={"name": "guest", "role": "VIEWER"}).json()
    header = {"Authorization": f"Bearer {made['token']}"}
    assert api.anonymous.get("/api/v1/stations", headers=header).status_code == 200
    assert admin.post("/api/v1/admin/tokens", json={"name": "guest", "role": "VIEWER"}).status_code == 409
    assert admin.delete("/api/v1/admin/tokens/guest").status_code == 204
    assert api.anonymous.get("/api/v1/stations", headers=header).status_code == 401
    assert admin.delete("/api/v1/admin/tokens/guest").status_code == 404
    assert admin.post("/api/v1/admin/tokens", json={"name": "guest", "role": "VIEWER"}).status_code == 200


def test_nobody_locks_themselves_out(api: Api) -> None:
    assert api.as_(Role.ADMIN).delete("/api/v1/admin/tokens/test-admin").status_code == 409


def test_secrets_are_neither_listed_nor_stored(api: Api) -> None:
    secret = api.as_(Role.ADMIN).post("/api/v1/admin/tokens", json={"name": "guest", "role": "VIEWER"}).json()["token"]
    assert secret not in api.as_(Role.ADMIN).get("/api/v1/admin/tokens").text
    with api.services.database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT * FROM token").all()
    assert not any(secret in str(row) for row in rows)


@pytest.mark.parametrize("role", list(Role))
def test_station_stands_outside_the_order(role: Role) -> None:
    assert may(role, None, station=True) == (role is Role.STATION)
    assert may(role, Role.ADMIN, station=False) == (role is Role.ADMIN)
