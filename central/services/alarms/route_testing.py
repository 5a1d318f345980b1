# SPDX-License-Identifier: Apache-2.0
"""Sends a test message through a route and tells what became of it in one line. Called by the API and the command line.

Waits for the other side; touches no outbox and no counter, so a test that fails calls for no retry.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from central.domain.alarm_routes import AlarmRoute
from central.errors import RouteError
from central.services.alarms.messages import compose_test
from central.services.alarms.senders import AlarmSender


@dataclass(frozen=True)
class TestOutcome:
    """`text` is for a person."""

    # Not a class of tests, whatever its name begins with.
    __test__ = False

    has_arrived: bool
    text: str


def send_test(sender: AlarmSender, route: AlarmRoute, by: str, now: datetime) -> TestOutcome:
    """Try the route now, in quiet hours and when it is switched off, too: somebody stands beside it."""
    message = compose_test(
        route, message_id=uuid.uuid4().hex, at=now, by=by, dashboard_url=sender.settings.dashboard_url
    )
    try:
        sent = sender.send(route, message, now)
    except RouteError as error:
        return TestOutcome(has_arrived=False, text=f"route {route.name}: not sent: {error}")
    return TestOutcome(has_arrived=not sent.is_partly, text=f"route {route.name}: {sent.text}")
