# SPDX-License-Identifier: Apache-2.0
"""Routes of alarms as central would tell of them: one that works, one that fails; what is set is kept."""

from datetime import datetime, timedelta

from central.api import alarm_route_schemas, schemas
from contracts.vocabulary import RouteKind
from tests.dashboard.plant_story import Story

_NIGHT = alarm_route_schemas.QuietBody(begins="22:00", ends="06:00")


def answer(story: Story, method: str, path: str, role: str, body: bytes) -> tuple[int, object]:
    """What central answers under `/alarm-routes`."""
    minimum = ("ENGINEER", "ADMIN") if method == "GET" else ("ADMIN",)
    if role not in minimum:
        return 403, schemas.Problem(error="not allowed", detail=f"expected role {minimum[0]}, got {role}")
    parts = path.strip("/").split("/")
    if method == "GET":
        return 200, routes(story)
    if method == "PUT":
        said = alarm_route_schemas.SetAlarmRoute.model_validate_json(body)
        story.actions.append(
            f"set {parts[1]} {said.route.model_dump_json(exclude_defaults=True)} {said.note} {said.by}"
        )
        return 200, routes(story)[0]
    if method == "DELETE":
        story.actions.append(f"end {parts[1]}")
        return 204, None
    story.actions.append(f"test {parts[1]}")
    return 200, alarm_route_schemas.RouteTested(
        has_arrived=parts[1] == "desk", text=f"route {parts[1]}: webhook erp.example answered 204"
    )


def routes(story: Story) -> list[alarm_route_schemas.AlarmRouteView]:
    """By name."""
    mail = alarm_route_schemas.RouteBody(
        kind=RouteKind.EMAIL,
        target=alarm_route_schemas.TargetBody(addresses=["qa@plant.example"]),
        quiet=[_NIGHT],
        time_zone="Europe/Berlin",
    )
    hook = alarm_route_schemas.RouteBody(
        kind=RouteKind.WEBHOOK, target=alarm_route_schemas.TargetBody(url="https://erp.example/hook", key="erp")
    )
    since = story.now - timedelta(hours=2)
    return [
        _view(story, "desk", hook),
        _view(story, "night", mail, since),
        _view(
            story, "tower", alarm_route_schemas.RouteBody(kind=RouteKind.MQTT, target=alarm_route_schemas.TargetBody())
        ),
    ]


def _view(
    story: Story, name: str, route: alarm_route_schemas.RouteBody, failing_since: datetime | None = None
) -> alarm_route_schemas.AlarmRouteView:
    return alarm_route_schemas.AlarmRouteView(
        name=name,
        route=route,
        changed_at=story.now,
        changed_by="anna",
        note="the night shift asked",
        is_failing=failing_since is not None,
        failing_since=failing_since,
        failures=7 if failing_since else 0,
        next_attempt_at=failing_since,
        last_error="mail server mail.example:587: <refused>" if failing_since else None,
        last_sent_at=None if name == "tower" else story.now,
        held=1,
        waiting=3 if failing_since else 0,
        unsaid=0,
    )
