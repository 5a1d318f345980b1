# SPDX-License-Identifier: Apache-2.0
"""`sightline-central alarms test-route NAME`: sends a test message through a route and tells the outcome in one line.

Beside a running central or without one: it reads the same settings and database. Called by `central.__main__`.
"""

import argparse
import threading
from pathlib import Path
from typing import Any, Final

from central.clock import SystemClock
from central.settings import CentralSettings, load_settings
from central.store.database import Database
from central.store.repositories import alarm_routes
from central.store.schema import require_current
from contracts.vocabulary import RouteKind

# A broker on the same network answers at once.
_BROKER_S: Final = 5.0


def add_alarms_commands(commands: Any) -> None:
    """Put `alarms` among the commands."""
    alarms = commands.add_parser("alarms", help="try the routes by which alarms reach people").add_subparsers(
        required=True, metavar="ACTION"
    )
    testing = alarms.add_parser("test-route", help="send a test message; exit code 1 when it did not arrive")
    testing.add_argument("name", metavar="NAME")
    testing.add_argument("--by", default="command-line", metavar="NAME", help="who asks, for the message")
    where = testing.add_mutually_exclusive_group(required=True)
    where.add_argument("--settings", type=Path, metavar="FILE")
    where.add_argument("--data", type=Path, metavar="DIR", help="short for --settings DIR/central.toml")
    testing.set_defaults(call=_test_route)


def _test_route(options: argparse.Namespace) -> int:
    # Here and not above: the other commands need neither HTTP nor MQTT.
    from central.messaging.gateway import Gateway  # noqa: PLC0415 - see above
    from central.services.alarms.route_testing import send_test  # noqa: PLC0415 - see above
    from central.services.alarms.senders import AlarmSender  # noqa: PLC0415 - see above

    settings: CentralSettings = load_settings(options.settings or options.data / "central.toml")
    database = Database(settings.database_url)
    database.probe()
    require_current(database)
    with database.read() as session:
        route = alarm_routes.read_route(alarm_routes.find_route(session, options.name))
    database.close()
    gateway = Gateway(settings.broker)
    if route.kind is RouteKind.MQTT:
        connected = threading.Event()
        gateway.on_connected(connected.set)
        gateway.start()
        connected.wait(_BROKER_S)
    try:
        outcome = send_test(AlarmSender(settings.alarms, gateway), route, options.by, SystemClock().now())
    finally:
        if route.kind is RouteKind.MQTT:
            gateway.stop()
    print(outcome.text)  # noqa: T201 - the command's answer
    return 0 if outcome.has_arrived else 1
