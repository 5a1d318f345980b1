# SPDX-License-Identifier: Apache-2.0
"""The client: every answer of central's shapes is understood, every failure has its own name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import isclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import httpx
import pytest
from pydantic import BaseModel

from central.api import schemas
from contracts.vocabulary import AuditState, Judgement, Verdict
from dashboard import connection as module
from dashboard.client import (
    CentralClient,
    CentralError,
    NotAllowedError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
    WrongTokenError,
)
from dashboard.reading import ShapeError, read, read_list
from dashboard.shapes import Alarm, Rate, Station
from tests.dashboard.learning_story import NEW
from tests.dashboard.plant_story import Story
from tests.dashboard.stub_central import VIEWER, StubCentral

ENGINEER = "engineer-secret"


SHAPES = list(Path(module.__file__).parent.glob("*shapes.py"))


@pytest.fixture(name="client")
def _client(central: StubCentral) -> Iterator[CentralClient]:
    with CentralClient(central.url, ENGINEER) as client:
        yield client


def _answering(handle: Callable[[httpx.Request], httpx.Response]) -> CentralClient:
    return CentralClient("http://central", VIEWER, transport=httpx.MockTransport(handle))


CALLS: dict[str, Callable[[CentralClient], object]] = {
    "stations": lambda c: c.stations(),
    "inspections": lambda c: c.inspections(limit=20),
    "rates": lambda c: c.rates(60),
    "timeline": lambda c: c.timeline(60),
    "charts": lambda c: c.charts(),
    "audits": lambda c: c.audits(AuditState.OPEN),
    "summary": lambda c: c.audit_summary(),
    "next": lambda c: c.next_audit("anna"),
    "agreement": lambda c: c.agreement(),
    "alarms": lambda c: c.alarms(),
    "packages": lambda c: c.packages(),
    "trainings": lambda c: c.trainings(),
    "training queue": lambda c: c.training_queue().trainings,
    "training costs": lambda c: c.training_costs().products,
    "training log": lambda c: c.training_log("t-2", 4_096),
    "rollouts": lambda c: c.rollouts(),
    "recipes": lambda c: c.recipes(),
    "freezes": lambda c: c.freezes(),
    "policies": lambda c: c.rollout_policies(),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_answer_of_centrals_own_models_is_understood(client: CentralClient, call: str) -> None:
    assert CALLS[call](client)


@pytest.mark.parametrize("call", CALLS)
def test_empty_plant_is_an_answer_too(client: CentralClient, central: StubCentral, call: str) -> None:
    central.story.has_stations = False
    central.story.audits.clear()
    CALLS[call](client)


def test_figures_arrive_as_central_sent_them(client: CentralClient) -> None:
    (row, *_) = client.rates(60).lines
    assert dataclasses.asdict(row.escape_share_of_accepted)["of"] == 331
    assert row.overkill_share_of_rejected.estimate is None
    assert client.packages()[0].package_id == NEW
    assert all(item.verdict is Verdict.NG for item in client.inspections(verdict=Verdict.NG, limit=5))


def test_judgement_reaches_central_once(client: CentralClient, central: StubCentral) -> None:
    recorded = client.judge(1, Judgement.DEFECTIVE, inspector="anna", defect_class="scratch")
    assert recorded.is_escape
    assert [outcome.defect_class for _, outcome in central.story.judged] == ["scratch"]
    with pytest.raises(RefusedError, match="already judged") as refused:
        client.judge(1, Judgement.GOOD, inspector="anna")
    assert refused.value.status == 409


def test_recipes_go_both_ways(client: CentralClient, central: StubCentral) -> None:
    (newest, *_) = client.recipe_history("ring").versions
    assert (newest.version, newest.changes[0].field, newest.recipe["deadline_ms"]) == (2, "deadline_ms", 90)
    document = newest.recipe | {"deadline_ms": 70}
    made = client.make_recipe("ring", document, based_on=2, note="shorter", by="anna")
    assert (made.version, made.created_by) == (3, "anna")
    assert client.restore_recipe("ring", 1, note="back", by="anna").version == 4
    assert client.switch_product("demo/line-1/st-1", "gear", by="anna").warnings
    with pytest.raises(RefusedError, match="based_on") as refused:
        client.make_recipe("ring", document, based_on=2, note="shorter", by="anna")
    assert refused.value.status == 409
    assert central.story.actions[2] == "/stations/demo/line-1/st-1/product gear"


def test_no_audit_waiting_is_none(client: CentralClient, central: StubCentral) -> None:
    central.story.audits.clear()
    assert client.next_audit("anna") is None


def test_evidence_is_bytes(client: CentralClient) -> None:
    part = client.inspections(verdict=Verdict.NG, limit=1)[0]
    assert client.evidence(part.evidence[0].sha256).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (401, b'{"error":"unknown token","detail":"x"}', WrongTokenError, "unknown token: x"),
        (403, b'{"error":"not allowed","detail":"expected ENGINEER"}', NotAllowedError, "expected ENGINEER"),
        (404, b'{"error":"unknown","detail":"rollout 9"}', RefusedError, "rollout 9"),
        (404, b"<html>nginx</html>", UnexpectedAnswerError, "Check the address"),
        (422, b'{"detail":[{"loc":[]}]}', UnexpectedAnswerError, "HTTP 422"),
        (502, b"", UnreachableError, "HTTP 502"),
        (200, b"<html>", UnexpectedAnswerError, "same version"),
        (200, b'{"an":"object"}', UnexpectedAnswerError, "same version"),
        (200, b'[{"station":7,"sync":"IN_SYNC"}]', UnexpectedAnswerError, "expected str, got 7"),
    ],
)
def test_failure_has_its_own_name(status: int, body: bytes, expected: type[CentralError], words: str) -> None:
    with (
        _answering(lambda _request: httpx.Response(status, content=body)) as client,
        pytest.raises(expected, match=words),
    ):
        client.stations()


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_silence_is_unreachable(error: type[httpx.TransportError]) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error("no")

    with _answering(fail) as client, pytest.raises(UnreachableError, match="No answer from central"):
        client.stations()


def test_what_central_says_of_itself_is_read_as_it_answers() -> None:
    said = schemas.Health(status="degraded", version="0.1.0", database="ok", broker="ok", failing=["rollouts"])
    with _answering(lambda _request: httpx.Response(200, json=said.model_dump(mode="json"))) as client:
        assert client.health().failing == ("rollouts",)


@pytest.mark.parametrize("name", sorted(path.stem for path in SHAPES))
def test_every_shape_is_made_of_kinds_that_the_reader_builds(name: str) -> None:
    shapes = [
        each
        for each in vars(import_module(f"dashboard.{name}")).values()
        if isclass(each) and dataclasses.is_dataclass(each)
    ]
    assert shapes
    for shape in shapes:
        for field, kind in get_type_hints(shape).items():
            unknown = [each for each in _origins(kind) if each not in (tuple, dict, Union, UnionType)]
            assert not unknown, f"{name}.{shape.__name__}.{field}: {kind}"


def _origins(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is not None:
        yield get_origin(kind)
        for inner in get_args(kind):
            yield from _origins(inner)


def test_central_without_its_broker_is_not_ready_but_there() -> None:
    body = {"status": "not ready", "version": "0.1.0", "database": "ok", "broker": "unreachable"}
    with _answering(lambda _request: httpx.Response(503, json=body)) as client:
        assert client.health().broker == "unreachable"


def test_proxy_that_cannot_reach_central_is_unreachable() -> None:
    with (
        _answering(lambda _request: httpx.Response(503, content=b"<html>")) as client,
        pytest.raises(UnreachableError, match="HTTP 503"),
    ):
        client.health()


def test_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1000)
    with (
        _answering(lambda _request: httpx.Response(200, content=b"x" * 5000)) as client,
        pytest.raises(UnexpectedAnswerError, match="more than 1000 bytes"),
    ):
        client.evidence("0" * 64)


def test_token_travels_in_the_header_alone() -> None:
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=[])

    with _answering(note) as client:
        client.stations()
    assert seen[0].headers["Authorization"] == f"Bearer {VIEWER}"
    assert VIEWER not in str(seen[0].url)


def test_unknown_fields_pass_and_missing_ones_are_named() -> None:
    body = {"station": "a/b/c", "sync": "IN_SYNC", "from_the_future": {"deep": [1]}}
    assert read(Station, body).name == "c"
    with pytest.raises(ShapeError, match="expected a field 'sync'"):
        read(Station, {"station": "a/b/c"})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"estimate": "much"}, "Rate.estimate: expected float"),
        ({"estimate": True}, "Rate.estimate: expected float"),
        ([], "expected dict, got list"),
    ],
)
def test_wrong_type_is_named_with_its_place(body: object, words: str) -> None:
    whole = {"estimate": None, "low": 0, "high": 1, "count": 0, "of": 0} | body if isinstance(body, dict) else body
    with pytest.raises(ShapeError, match=words):
        read(Rate, whole)


def test_time_without_offset_is_refused() -> None:
    alarm = json.loads(_json(Story().alarms()[0]))
    alarm["raised_at"] = "2026-01-02T03:04:05"
    with pytest.raises(ShapeError, match="with an offset"):
        read_list(Alarm, [alarm])


def _json(shape: BaseModel) -> str:
    return shape.model_dump_json()
