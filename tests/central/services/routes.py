# SPDX-License-Identifier: Apache-2.0
"""A bench for routes of alarms: a database, a still clock, real senders, and a broker that only remembers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import col, select

from central.domain.alarm_routes import AlarmRoute, Target
from central.errors import RouteError
from central.services.alarms.delivering import AlarmDelivering
from central.services.alarms.messages import Outgoing
from central.services.alarms.rows import Signal, acknowledge, close, find_alarm, raise_alarm
from central.services.alarms.senders import AlarmSender, Sent
from central.settings import AlarmSettings
from central.store.alarm_route_tables import AlarmDelivery, AlarmRouteRow
from central.store.database import Database
from central.store.repositories import alarm_routes
from contracts.vocabulary import AlarmKind, DeliveryState, RouteKind
from tests.central.conftest import StillClock


@dataclass
class RememberingSender:
    """Keeps what it is handed; fails while `fault` says something."""

    settings: AlarmSettings = field(default_factory=AlarmSettings)
    fault: str = ""
    tried: list[Outgoing] = field(default_factory=list)
    sent: list[Outgoing] = field(default_factory=list)

    def send(self, route: AlarmRoute, message: Outgoing, now: datetime) -> Sent:  # noqa: ARG002 - the seam's signature
        self.tried.append(message)
        if self.fault:
            raise RouteError(self.fault)
        self.sent.append(message)
        return Sent("taken")


class NoBroker:
    """A gateway without a broker."""

    def publish_confirmed(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:  # noqa: ARG002 - the seam's signature
        return False


class RouteBench:
    """Alarms, routes, and one round of the service at a time, without threads."""

    def __init__(
        self, database: Database, clock: StillClock, sender: RememberingSender | AlarmSender | None = None
    ) -> None:
        self.database, self.clock = database, clock
        self.sender = sender or RememberingSender()
        self.restart()

    def restart(self) -> None:
        """A new service over the same rows."""
        self.service = AlarmDelivering(self.database, self.sender, self.clock)

    def set(self, *routes: AlarmRoute) -> None:
        with self.database.begin() as session:
            for route in routes:
                row = session.get(AlarmRouteRow, route.name) or AlarmRouteRow(
                    name=route.name, document="", changed_at=self.clock.now(), changed_by="anna", note="test"
                )
                row.document = alarm_routes.route_text(route)
                session.add(row)

    def signal(
        self,
        kind: AlarmKind = AlarmKind.REJECT_RATE,
        station: str | None = "plant/line-1/st-1",
        product: str | None = "ring",
        *,
        is_simulated: bool = False,
    ) -> int:
        """Raise, or fold into what is open."""
        signal = Signal(
            kind=kind,
            message="12 of 50 parts were rejected (13.1% to 38.2%, 95% interval).",
            remedy="Look at the rejects.",
            is_simulated=is_simulated,
            station=station,
            product=product,
            evidence={"rejected": 12, "parts": 50, "high": 0.3824, "nested": {"not": "told"}},
        )
        with self.database.begin() as session:
            alarm = raise_alarm(session, signal, self.clock.now())
            assert alarm.id is not None
            return alarm.id

    def acknowledge(self, alarm_id: int) -> None:
        with self.database.begin() as session:
            alarm = find_alarm(session, alarm_id)
            acknowledge(alarm, "bert")
            session.add(alarm)

    def close(self, alarm_id: int) -> None:
        with self.database.begin() as session:
            alarm = find_alarm(session, alarm_id)
            close(alarm, "bert", self.clock.now())
            session.add(alarm)

    def round(self) -> int:
        """Take in what is new and send what is due; how many messages arrived."""
        self.service.take_in(self.clock.now())
        with self.database.read() as session:
            names = [row.name for row in alarm_routes.routes(session)]
        return sum(self.service.deliver(name) for name in names)

    @property
    def sent(self) -> list[Outgoing]:
        assert isinstance(self.sender, RememberingSender)
        return self.sender.sent

    def rows(self, state: DeliveryState | None = None) -> list[AlarmDelivery]:
        with self.database.read() as session:
            rows = session.exec(select(AlarmDelivery).order_by(col(AlarmDelivery.id))).all()
        return [row for row in rows if state is None or row.state is state]

    def route(self, name: str = "r") -> AlarmRouteRow:
        with self.database.read() as session:
            return alarm_routes.find_route(session, name)


def mqtt(name: str = "r", **changes: object) -> AlarmRoute:
    """A route to anybody: the kind that needs nothing else."""
    return AlarmRoute(name=name, kind=RouteKind.MQTT, target=Target(), **changes)  # type: ignore[arg-type]


def course(messages: Sequence[Outgoing]) -> list[list[str]]:
    """Of each message its events, as `REJECT_RATE RAISED`."""
    return [[f"{one['kind']} {one['event']}" for one in message.document["events"]] for message in messages]
