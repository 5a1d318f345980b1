# SPDX-License-Identifier: Apache-2.0
"""A central of the tests' own: answers the dashboard's questions from a `Story`, over real HTTP.

Knows tokens and roles, can be told to answer badly. `python -m tests.dashboard.stub_central PORT` serves it
for looking at the pages by hand; its token is `viewer-secret` or `engineer-secret`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ValidationError

from central.api import freeze_schemas, recipe_schemas, rollout_schemas, schemas
from contracts.vocabulary import AlarmState, RolloutState, Verdict
from tests.dashboard import audit_story, experiment_story, gate_story, quality_story, route_story
from tests.dashboard.learning_story import PRODUCT, STATIONS
from tests.dashboard.plant_story import Story

VIEWER = "viewer-secret"
TOKENS = {VIEWER: "VIEWER", "engineer-secret": "ENGINEER", "admin-secret": "ADMIN"}
_ROLLOUT_STATE = {
    "pause": RolloutState.PAUSED,
    "resume": RolloutState.RUNNING,
    "approve": RolloutState.RUNNING,
    "abort": RolloutState.STOPPED,
}


@dataclass
class StubCentral:
    """Answers, and what it was asked. `broken` replaces every answer by a status and a body."""

    story: Story
    url: str = ""
    broken: tuple[int, bytes] | None = None
    asked: list[str] = field(default_factory=list)
    grouped_by: list[str] = field(default_factory=list)
    reports: list[dict[str, str]] = field(default_factory=list)

    def answer(self, method: str, target: str, role: str, body: bytes) -> tuple[int, object]:
        split = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        path = split.path.removeprefix("/api/v1")
        self.asked.append(f"{method} {path}")
        if path.startswith("/alarm-routes"):
            return route_story.answer(self.story, method, path, role, body)
        if method == "GET":
            is_of_history = path.startswith(("/experiments", "/lineage/pictures/"))
            return experiment_story.answer(self.story, path, query) if is_of_history else self._get(path, query)
        if path.endswith("/pin"):
            return self._pin(method, path.strip("/").split("/"), role, query, body)
        if method == "DELETE":
            return self._end_policy(path, role)
        if path.startswith("/gates/"):
            return gate_story.overrule(self.story, role, body)
        return self._post(path, role, body)

    def _end_policy(self, path: str, role: str) -> tuple[int, object]:
        if role != "ENGINEER":
            return 403, schemas.Problem(error="not allowed", detail="expected role ENGINEER, got VIEWER")
        self.story.actions.append(f"DELETE {path}")
        return 204, None

    def _pin(self, method: str, parts: list[str], role: str, query: dict[str, str], body: bytes) -> tuple[int, object]:
        """PUT and DELETE of a station's pin."""
        story, station, product = self.story, "/".join(parts[1:4]), parts[5]
        if role != "ENGINEER":
            return 403, schemas.Problem(error="not allowed", detail="expected role ENGINEER, got VIEWER")
        if method == "DELETE":
            because = recipe_schemas.Because.model_validate(query)
            story.actions.append(f"unpin {station} {product}: {because.note}, {because.by}")
            story.pins.pop((station, product))
        else:
            said = recipe_schemas.PinRecipe.model_validate_json(body)
            story.actions.append(f"pin {station} {product} {said.version}: {said.note}, {said.by}")
            story.pins[station, product] = said.version
        return 200, story._at(STATIONS.index(station), product)

    def _get(self, path: str, query: dict[str, str]) -> tuple[int, object]:
        story = self.story
        minutes, station = int(query.get("minutes", "60")), query.get("station")
        fixed: dict[str, Callable[[], object]] = {
            "/ready": lambda: schemas.Health(status="ok", version="0.1.0", database="sqlite", broker="connected"),
            "/stations": story.stations,
            "/inspections": lambda: self._inspections(query),
            "/quality/rates": lambda: story.rates(minutes),
            "/quality/timeline": lambda: story.timeline(minutes, station),
            "/quality/charts": lambda: story.charts(station),
            "/quality/figures": lambda: self._grouped(query),
            "/quality/agreement": lambda: quality_story.agreement(story),
            "/quality/attribute-charts": lambda: quality_story.attribute_charts(story),
            "/quality/hints": lambda: quality_story.hints(story),
            "/quality/memory-charts": lambda: quality_story.memory_charts(story, query["kind"]),
            "/audits": story.open_audits,
            "/audits/summary": story.audit_summary,
            "/audits/shifts": lambda: audit_story.shifts(story),
            "/alarms": story.alarms,
            "/packages": story.packages,
            "/trainings": story.trainings,
            "/trainings/costs": story.training_costs,
            "/trainings/queue": story.training_queue,
            "/trainings/t-2/log": lambda: story.training_log(int(query["offset"])),
            "/trainings/decisions": story.training_decisions,
            "/rollouts": story.rollouts,
            "/rollouts/3/evidence": story.rollout_evidence,
            "/rollouts/3/quarantine": story.quarantine,
            "/freezes": story.freezes,
            "/rollout-policies": story.rollout_policies,
            "/gates": lambda: gate_story.gates(story),
            f"/lineage/stations/{STATIONS[0]}": lambda: gate_story.lineage(story),
            f"/lineage/datasets/{gate_story.DATASET}": lambda: gate_story.lineage(story),
            "/recipes": story.recipes,
            **{f"/audits/{number}/picture": partial(story.audit_picture, number) for number in story.audits},
        }
        if path.endswith("/evidence.json"):
            return 200, b"evidence of the gate"
        if path.startswith("/reports/shift."):
            return self._report(path, query)
        if path in fixed:
            return 200, fixed[path]()
        if path == "/audits/next":
            waiting = story.open_audits()
            return (200, waiting[0]) if waiting else (204, None)
        if path.startswith("/recipes/"):
            history = story.recipe_history(path.split("/")[2])
            return (200, history) if history else (404, schemas.Problem(error="not found", detail="no recipe"))
        blob = story.blobs.get(path.removeprefix("/evidence/"))
        return (200, blob) if blob is not None else (404, schemas.Problem(error="unknown", detail=path))

    def _report(self, path: str, query: dict[str, str]) -> tuple[int, object]:
        self.reports.append(query)
        if query.get("shift") == "14:00":
            return 422, schemas.Problem(error="invalid", detail="expected a period that has begun")
        return 200, f"{path} of {query['day']}".encode()

    def _grouped(self, query: dict[str, str]) -> object:
        self.grouped_by.append(query["by"])
        return quality_story.figures(self.story, query["by"])

    def _inspections(self, query: dict[str, str]) -> schemas.InspectionPage:
        if query.get("product", PRODUCT) != PRODUCT:
            return schemas.InspectionPage(items=[])
        return self.story.inspections(query.get("station"), query.get("verdict"), int(query.get("limit", "50")))

    def _post(self, path: str, role: str, body: bytes) -> tuple[int, object]:
        story = self.story
        parts = path.strip("/").split("/")
        if parts[:2] == ["audits", "shifts"]:
            return audit_story.resume(story, int(parts[2]), role, body)
        if parts[0] == "audits":
            outcome = schemas.AuditOutcome.model_validate_json(body)
            if int(parts[1]) not in story.audits:
                return 409, schemas.Problem(error="already judged", detail="take the next one")
            return 200, story.judge(int(parts[1]), outcome)
        if parts[0] in ("recipes", "stations"):
            return self._recipe(parts, path, role, body)
        if parts[-1] == "cause":
            story.alarm_cause = schemas.SayCause.model_validate_json(body)
            return 200, story.alarms()[0]
        return self._change(parts, path, role, body)

    def _change(self, parts: list[str], path: str, role: str, body: bytes) -> tuple[int, object]:
        """Of alarms, rollouts and freezes."""
        story = self.story
        if role != "ENGINEER" and parts[0] in ("rollouts", "freezes"):
            return 403, schemas.Problem(error="not allowed", detail="expected role ENGINEER, got VIEWER")
        if parts == ["freezes"]:
            story.actions.append(f"{path} {freeze_schemas.MakeFreeze.model_validate_json(body).reason}")
            return 201, story.freezes()[0]
        if parts[-1] == "set-aside":
            story.actions.append(f"{path} {rollout_schemas.SetAside.model_validate_json(body).station}")
            return 200, story.rollouts()[0]
        if parts[-1] == "approve":
            path = f"{path} wave {rollout_schemas.Approve.model_validate_json(body).wave}"
        else:
            schemas.By.model_validate_json(body)
        story.actions.append(path)
        if parts[0] == "freezes":
            return 200, story.freezes()[0]
        if parts[0] == "alarms":
            story.alarm_state = AlarmState.CLOSED if parts[2] == "close" else AlarmState.ACKNOWLEDGED
            return 200, story.alarms()[0]
        story.rollout_state = _ROLLOUT_STATE[parts[2]]
        return 200, story.rollouts()[0]

    def _recipe(self, parts: list[str], path: str, role: str, body: bytes) -> tuple[int, object]:
        story = self.story
        if role != "ENGINEER":
            return 403, schemas.Problem(error="not allowed", detail="expected role ENGINEER, got VIEWER")
        if parts[0] == "stations":
            asked = recipe_schemas.SwitchStation.model_validate_json(body)
            story.actions.append(f"{path} {asked.product}")
            station = "/".join(parts[1:4])
            return 202, recipe_schemas.SwitchAsked(
                station=station, product=asked.product, asked_at=story.now, warnings=["no package for it judges there"]
            )
        story.actions.append(path)
        if len(parts) == 4:
            because = recipe_schemas.Because.model_validate_json(body)
            old = next(row for row in story.rows_of(parts[1]) if row.version == int(parts[2]))
            document = json.loads(old.document) | {"version": 1}
            newest = story.rows_of(parts[1])[0].version
            said = recipe_schemas.MakeRecipe(document=document, based_on=newest, note=because.note, by=because.by)
        else:
            said = recipe_schemas.MakeRecipe.model_validate_json(body)
        made = story.make_recipe(parts[1], said)
        return (201, made) if made else (409, schemas.Problem(error="conflict", detail="based_on: read it again"))


class _Handler(BaseHTTPRequestHandler):
    stub: ClassVar[StubCentral]

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        role = TOKENS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if self.stub.broken is not None:
            status, raw = self.stub.broken
            self._send(status, "text/html", raw)
            return
        if role is None and not self.path.endswith("/ready"):
            problem = schemas.Problem(error="unknown token", detail="expected a token that central made")
            self._send(401, "application/json", problem.model_dump_json().encode())
            return
        try:
            status, answer = self.stub.answer(self.command, self.path, role or "", body)
        except ValidationError as error:
            status, answer = 422, schemas.Problem(error="bad body", detail=str(error.errors()[0]["msg"]))
        if isinstance(answer, bytes):
            self._send(status, "image/png", answer)
        else:
            self._send(status, "application/json", b"" if status == 204 else _json(answer))

    def _send(self, status: int, kind: str, raw: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Stay silent."""


def _json(answer: object) -> bytes:
    def plain(value: object) -> Any:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value

    return json.dumps([plain(item) for item in answer] if isinstance(answer, list) else plain(answer)).encode()


@contextmanager
def stub_central(story: Story, port: int = 0) -> Iterator[StubCentral]:
    """Serve a story until the block ends."""
    stub = StubCentral(story)
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    live = Story(now=datetime.now(UTC), audits=dict.fromkeys(range(1, 30), Verdict.OK))
    with stub_central(live, int(sys.argv[1])):
        threading.Event().wait()
