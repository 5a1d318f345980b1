# SPDX-License-Identifier: Apache-2.0
"""Bodies of the HTTP API for routes of alarms: what an administrator sets, how a route goes, what went over it.

Shapes only. What people write is read strictly: a field that nobody knows is a mistake here. No secret stands in them.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from central.api.schemas import By
from central.api.written import Why, Written
from central.domain.alarm_routes import AlarmFilter, AlarmRoute, RateLimit, Reminders, Target
from central.domain.quiet_hours import QuietHours
from contracts.base import Shape, UtcTime, Whole
from contracts.ids import Name
from contracts.maintenance import DAYS
from contracts.vocabulary import AlarmEvent, AlarmKind, AlarmSeverity, DeliveryState, RouteKind

Word = Annotated[str, Field(max_length=200)]


class TargetBody(Written):
    """Where to. EMAIL: `addresses`; WEBHOOK: `url`, and a word of central's `webhook_keys`; MQTT: `is_retained`."""

    addresses: list[Word] = Field(default=[], max_length=20)
    url: str = Field(default="", max_length=1000)
    key: str = Field(default="", max_length=63)
    is_retained: bool = False


class FilterBody(Written):
    """Which alarms; an empty list is all. `stations`: sites, lines or stations. Simulated ones only when asked for."""

    kinds: list[AlarmKind] = Field(default=[], max_length=20)
    stations: list[Word] = Field(default=[], max_length=100)
    products: list[Name] = Field(default=[], max_length=100)
    least_severity: AlarmSeverity = AlarmSeverity.NOTICE
    is_real: bool = True
    is_simulated: bool = False


class QuietBody(Written):
    """From `begins` to `ends` by the route's clock, on these days of beginning; `ends` not after `begins`: next day."""

    days: list[str] = Field(default=list(DAYS), min_length=1, max_length=7)
    begins: str = "22:00"
    ends: str = "06:00"


class RemindersBody(Written):
    """While nobody has acknowledged: after so many minutes and again, `most` times at most; 0: never."""

    after_minutes: float = Field(default=60.0, allow_inf_nan=False)
    most: Whole = 0


class RateBody(Written):
    """At most so many messages in so many minutes; what is more goes together as one digest."""

    messages: Whole = 10
    minutes: float = Field(default=10.0, allow_inf_nan=False)


class RouteBody(Written):
    """A route. `break_through`: what quiet hours do not hold; null: nothing."""

    kind: RouteKind
    target: TargetBody
    is_enabled: bool = True
    events: list[AlarmEvent] = Field(default=list(AlarmEvent), min_length=1, max_length=4)
    filter: FilterBody = FilterBody()
    time_zone: str = Field(default="UTC", max_length=64)
    quiet: list[QuietBody] = Field(default=[], max_length=20)
    break_through: AlarmSeverity | None = AlarmSeverity.CRITICAL
    reminders: RemindersBody = RemindersBody()
    rate: RateBody = RateBody()

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        self.read("x")
        return self

    def read(self, name: str) -> AlarmRoute:
        """For the services.

        Raises:
            ValueError: a route that cannot work.
        """
        to, passing = self.target, self.filter
        return AlarmRoute(
            name=name,
            kind=self.kind,
            target=Target(tuple(to.addresses), to.url, to.key, to.is_retained),
            is_enabled=self.is_enabled,
            events=tuple(self.events),
            filter=AlarmFilter(
                tuple(passing.kinds),
                tuple(passing.stations),
                tuple(passing.products),
                passing.least_severity,
                passing.is_real,
                passing.is_simulated,
            ),
            time_zone=self.time_zone,
            quiet=tuple(QuietHours(tuple(each.days), each.begins, each.ends) for each in self.quiet),
            break_through=self.break_through,
            reminders=Reminders(self.reminders.after_minutes, self.reminders.most),
            rate=RateLimit(self.rate.messages, self.rate.minutes),
        )


class SetAlarmRoute(By):
    """Body of `PUT /alarm-routes/{name}`."""

    route: RouteBody
    note: Why


class AlarmRouteView(Shape):
    """A route and how it goes. `is_failing`: since `failing_since` nothing has arrived.

    `held`: events that wait for the end of quiet hours; `waiting`: all others that are not delivered. `unsaid`: events
    that never went out. `last_error` without `is_failing`: not everybody got the last message.
    """

    name: str
    route: RouteBody
    changed_at: UtcTime
    changed_by: str
    note: str
    is_failing: bool
    failing_since: UtcTime | None
    failures: int
    next_attempt_at: UtcTime | None
    last_error: str | None
    last_sent_at: UtcTime | None
    held: int
    waiting: int
    unsaid: int


class AlarmDeliveryView(Shape):
    """One event of an alarm on its way over a route. Events of one message share `message_id`; attempts are its own."""

    id: int
    alarm_id: int
    event: AlarmEvent
    number: int
    at: UtcTime
    severity: AlarmSeverity
    state: DeliveryState
    due_at: UtcTime
    message_id: str | None
    attempts: int
    last_error: str | None
    done_at: UtcTime | None


class RouteTested(Shape):
    """What became of a test message."""

    has_arrived: bool
    text: str
