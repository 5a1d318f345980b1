# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is, and what must not be forgotten while a message is under way."""

from datetime import UTC, datetime, timedelta

import pytest

from central.domain.alarm_routes import RateLimit
from central.domain.quiet_hours import QuietHours
from central.services.alarms import outbox
from central.settings import AlarmSettings
from central.store.database import Database
from central.store.repositories import alarm_routes
from contracts.vocabulary import AlarmKind, DeliveryState
from tests.central.conftest import START, StillClock
from tests.central.services.routes import RememberingSender, RouteBench, course, mqtt


@pytest.fixture(name="sender")
def _sender() -> RememberingSender:
    return RememberingSender()


@pytest.fixture(name="bench")
def _bench(sqlite_database: Database, clock: StillClock, sender: RememberingSender) -> RouteBench:
    return RouteBench(sqlite_database, clock, sender)


def _due(bench: RouteBench) -> list[str]:
    bench.service.take_in(bench.clock.now())
    with bench.database.read() as session:
        return outbox.due_routes(session, bench.clock.now())


def test_the_route_that_sent_last_longest_ago_comes_first_and_before_it_those_that_never_did(bench: RouteBench) -> None:
    bench.set(mqtt("a"), mqtt("b"))
    bench.signal(AlarmKind.DRIFT)
    assert _due(bench) == ["a", "b"]
    bench.service.deliver("b")
    bench.clock.advance(1)
    bench.service.deliver("a")
    bench.set(mqtt("c"))
    bench.clock.advance(1)
    bench.signal()
    assert _due(bench) == ["c", "b", "a"]


def test_a_digest_that_waits_for_its_next_attempt_is_not_due_by_those_that_follow_in_it(
    bench: RouteBench, sender: RememberingSender
) -> None:
    bench.set(mqtt(rate=RateLimit(messages=1, minutes=10)))
    for number in range(3):
        bench.signal(station=f"plant/line-1/st-{number}")
    sender.fault = "away"
    bench.round()
    with bench.database.begin() as session:
        # As after another message went through: the route itself works.
        row = alarm_routes.find_route(session, "r")
        row.next_attempt_at, row.failures = None, 0
        session.add(row)
    bench.clock.advance(29)
    assert _due(bench) == []
    bench.clock.advance(1)
    assert _due(bench) == ["r"]


def test_a_route_that_has_sent_its_share_is_not_due(bench: RouteBench) -> None:
    bench.set(mqtt(rate=RateLimit(messages=1, minutes=10)))
    bench.signal(AlarmKind.DRIFT)
    bench.round()
    bench.signal()
    assert _due(bench) == []
    bench.clock.advance(600)
    assert _due(bench) == ["r"]


def test_what_was_lost_while_a_message_was_under_way_is_told_by_the_next(
    sqlite_database: Database, clock: StillClock
) -> None:
    bench = RouteBench(sqlite_database, clock, RememberingSender(AlarmSettings(backlog_rows=1)))
    bench.set(mqtt())
    bench.signal(AlarmKind.DRIFT)
    bench.service.take_in(clock.now())
    with sqlite_database.begin() as session:
        taken = outbox.take(session, "r", AlarmSettings(), clock.now())
    assert taken is not None
    assert taken.unsaid == 0
    bench.signal()
    bench.service.take_in(clock.now())
    assert bench.route().unsaid == 1
    with sqlite_database.begin() as session:
        outbox.arrived(session, taken, clock.now(), None)
    assert bench.route().unsaid == 1, "this message did not say it"


def test_a_message_that_alone_is_refused_waits_long_though_others_arrive(
    bench: RouteBench, sender: RememberingSender, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.set(mqtt())
    poison = bench.signal(AlarmKind.DRIFT)
    real = sender.send

    def choosy(route: object, message: object, now: object) -> object:
        sender.fault = "too large" if message.document["events"][0]["alarm_id"] == poison else ""  # type: ignore[attr-defined]
        return real(route, message, now)  # type: ignore[arg-type]

    monkeypatch.setattr(sender, "send", choosy)

    def rounds(seconds: int) -> None:
        while clock.now() < START + timedelta(seconds=seconds):
            clock.advance(30)
            bench.round()

    rounds(1_000)
    assert bench.rows()[0].attempts == 6, "at once, then after 30, 60, 120, 240 and 480 s"
    bench.signal()
    rounds(2_640)
    assert [row.state for row in bench.rows()] == [DeliveryState.WAITING, DeliveryState.SENT]
    assert bench.route().failures == 1, "the other one arrived"
    assert bench.rows()[0].attempts == 7, "a quarter of an hour between two, although the route works"


def test_a_digest_with_a_critical_alarm_in_it_goes_out_in_quiet_hours_whole(
    bench: RouteBench, sender: RememberingSender, clock: StillClock
) -> None:
    clock.at = datetime(2026, 3, 2, 21, 59, tzinfo=UTC)
    night = QuietHours(begins="22:00", ends="06:00")
    bench.set(mqtt(rate=RateLimit(messages=1, minutes=10), quiet=(night,)))
    bench.signal()
    bench.signal(AlarmKind.ESCAPES)
    sender.fault = "away"
    bench.round()
    sender.fault = ""
    clock.at = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)
    assert bench.round() == 1
    assert sorted(course(sender.sent)[0]) == ["ESCAPES RAISED", "REJECT_RATE RAISED"]


def test_a_route_that_is_switched_off_keeps_what_waits_until_it_is_on_again(
    bench: RouteBench, sender: RememberingSender
) -> None:
    bench.set(mqtt())
    bench.signal()
    bench.service.take_in(bench.clock.now())
    bench.set(mqtt(is_enabled=False))
    assert _due(bench) == []
    assert bench.service.deliver("r") == 0
    assert sender.tried == []
    bench.set(mqtt())
    assert bench.service.deliver("r") == 1


def test_a_digest_takes_so_many_events_and_leaves_the_rest_to_the_next(
    bench: RouteBench, sender: RememberingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central.services.alarms.outbox._MOST_IN_DIGEST", 5)
    bench.set(mqtt(rate=RateLimit(messages=1, minutes=10)))
    for number in range(8):
        bench.signal(station=f"plant/line-1/st-{number}")
    bench.round()
    bench.clock.advance(600)
    bench.round()
    assert [len(events) for events in course(sender.sent)] == [5, 3]
