# SPDX-License-Identifier: Apache-2.0
"""What waits goes out once, in time, together where it is much, and after failures; what cannot is owned up to."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from central.domain.alarm_routes import RateLimit, Reminders
from central.domain.quiet_hours import QuietHours
from central.services.alarms import outbox
from central.services.alarms.messages import MOST_EVENTS, MOST_LINES
from central.settings import AlarmSettings
from central.store.database import Database
from contracts.vocabulary import AlarmKind, AlarmSeverity, DeliveryState
from tests.central.conftest import START, StillClock
from tests.central.services.routes import RememberingSender, RouteBench, course, mqtt


@pytest.fixture(name="sender")
def _sender() -> RememberingSender:
    return RememberingSender()


@pytest.fixture(name="bench")
def _bench(sqlite_database: Database, clock: StillClock, sender: RememberingSender) -> RouteBench:
    return RouteBench(sqlite_database, clock, sender)


def _run(bench: RouteBench, until: datetime, step: timedelta = timedelta(minutes=1)) -> list[datetime]:
    """Rounds until then; when messages arrived."""
    times = []
    while bench.clock.at < until:
        bench.clock.at += step
        times += [bench.clock.at] * bench.round()
    return times


def test_a_storm_of_500_alarms_becomes_one_digest_that_loses_none(database: Database, clock: StillClock) -> None:
    bench = RouteBench(database, clock)
    bench.set(mqtt())
    for number in range(500):
        bench.signal(station=f"plant/line-1/st-{number}")
    assert bench.round() == 1
    (message,) = bench.sent
    assert message.subject == "[Sightline] WARNING: digest of 500 alarms, 500 events"
    assert (message.document["events_in_all"], len(message.document["events"])) == (500, MOST_EVENTS)
    assert f"and {500 - MOST_LINES} more: {500 - MOST_LINES} × Reject rate" in message.text
    assert len(bench.rows(DeliveryState.SENT)) == 500


def test_a_storm_that_goes_on_sends_no_more_messages_than_the_rate_and_still_tells_all(bench: RouteBench) -> None:
    bench.set(mqtt(rate=RateLimit(messages=5, minutes=10)))
    times, made = [], 0
    for _ in range(60):
        for _ in range(8):
            bench.signal(station=f"plant/line-1/st-{made}")
            made += 1
        times += [bench.clock.at] * bench.round()
        bench.clock.advance(30)
    times += _run(bench, bench.clock.at + timedelta(minutes=15))
    assert all(later - first >= timedelta(minutes=10) for first, later in zip(times, times[5:], strict=False))
    assert sum(len(events) for events in course(bench.sent)) == made == 480
    assert len(bench.rows(DeliveryState.SENT)) == 480
    # Nothing waits for longer than the rate's own time.
    assert max(row.done_at - row.at for row in bench.rows() if row.done_at) <= timedelta(minutes=11)


def test_a_failed_message_is_tried_again_under_the_same_id_with_growing_waits(
    bench: RouteBench, sender: RememberingSender
) -> None:
    bench.set(mqtt())
    bench.signal()
    sender.fault = "mail server away"
    tried_at = []
    for _ in range(400):
        before = len(sender.tried)
        bench.round()
        if len(sender.tried) > before:
            tried_at.append(bench.clock.at)
        bench.clock.advance(10)
    waits = [(later - first).total_seconds() for first, later in pairwise(tried_at)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert len({message.message_id for message in sender.tried}) == 1
    row, (event,) = bench.route(), bench.rows()
    assert (row.failing_since, row.last_error, row.failures) == (START, "mail server away", 9)
    assert (event.attempts, event.last_error, event.state) == (9, "mail server away", DeliveryState.WAITING)
    sender.fault = ""
    bench.restart()
    _run(bench, bench.clock.at + timedelta(minutes=15))
    assert [message.message_id for message in sender.sent] == [event.message_id]
    row = bench.route()
    assert (row.failing_since, row.last_error, row.failures) == (None, None, 0)


def test_what_gathered_while_the_server_was_down_comes_once_when_it_is_back(
    bench: RouteBench, sender: RememberingSender
) -> None:
    bench.set(mqtt())
    sender.fault = "away"
    for number in range(60):
        bench.signal(station=f"plant/line-1/st-{number}")
        _run(bench, bench.clock.at + timedelta(minutes=1))
    sender.fault = ""
    _run(bench, bench.clock.at + timedelta(minutes=30))
    assert sum(len(events) for events in course(sender.sent)) == 60
    assert len(sender.sent) <= 10
    assert len({message.message_id for message in sender.sent}) == len(sender.sent)


def test_a_message_that_never_arrives_is_given_up_after_a_day_and_the_next_one_says_so(
    bench: RouteBench, sender: RememberingSender
) -> None:
    bench.set(mqtt())
    bench.signal()
    sender.fault = "away"
    _run(bench, START + timedelta(hours=23, minutes=50), timedelta(minutes=5))
    assert bench.rows()[0].state is DeliveryState.WAITING
    _run(bench, START + timedelta(hours=25), timedelta(minutes=5))
    (event,) = bench.rows()
    assert (event.state, event.last_error) == (DeliveryState.GIVEN_UP, "away")
    assert bench.route().unsaid == 1
    tried = len(sender.tried)
    _run(bench, START + timedelta(hours=30), timedelta(minutes=5))
    assert len(sender.tried) == tried
    sender.fault = ""
    bench.signal(AlarmKind.DRIFT)
    bench.round()
    assert "1 earlier events never went out over this route" in sender.sent[0].text
    assert bench.route().unsaid == 0


def test_a_message_that_alone_is_refused_does_not_hold_up_the_others_for_ever(
    sqlite_database: Database, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = RememberingSender()
    bench = RouteBench(sqlite_database, clock, sender)
    bench.set(mqtt())
    poison = bench.signal(AlarmKind.DRIFT)
    real = sender.send

    def choosy(route: object, message: object, now: datetime) -> object:
        sender.fault = "too large" if message.document["events"][0]["alarm_id"] == poison else ""  # type: ignore[attr-defined]
        return real(route, message, now)  # type: ignore[arg-type]

    monkeypatch.setattr(sender, "send", choosy)
    bench.round()
    bench.signal()
    _run(bench, START + timedelta(minutes=40))
    assert course(sender.sent) == [["REJECT_RATE RAISED"]]
    assert bench.rows()[0].attempts >= 6


def test_a_crash_between_sending_and_writing_it_down_sends_the_same_message_again(
    bench: RouteBench, sender: RememberingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.set(mqtt())
    for number in range(20):
        bench.signal(station=f"plant/line-1/st-{number}")

    def killed(*_words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "arrived", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.round()
    bench.restart()
    bench.signal(AlarmKind.DRIFT)
    _run(bench, START + timedelta(minutes=5))
    first, *rest = sender.sent
    again = [message for message in rest if message.message_id == first.message_id]
    assert [message.document["events"] for message in again] == [first.document["events"]]
    # What came meanwhile is a message of its own: it was in no message that may be out already.
    assert course([message for message in rest if message not in again]) == [["DRIFT RAISED"]]


def test_a_fault_of_ours_waits_and_shows_like_any_other(
    bench: RouteBench, sender: RememberingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.set(mqtt())
    bench.signal()

    def broken(*_words: object) -> None:
        raise KeyError("nothing here")

    with monkeypatch.context() as patch:
        patch.setattr(sender, "send", broken)
        assert bench.round() == 0
    assert bench.route().last_error == "KeyError: 'nothing here'"
    bench.clock.advance(31)
    assert bench.round() == 1


NIGHT = QuietHours(begins="22:00", ends="06:00")


def test_quiet_hours_hold_and_send_together_and_what_breaks_through_goes_at_once(bench: RouteBench) -> None:
    bench.clock.at = datetime(2026, 3, 2, 21, 30, tzinfo=UTC)
    bench.set(mqtt(quiet=(NIGHT,), reminders=Reminders(after_minutes=10_000, most=1)))
    _run(bench, datetime(2026, 3, 2, 22, 30, tzinfo=UTC))
    first = bench.signal()
    bench.signal(AlarmKind.ESCAPES, None)
    _run(bench, datetime(2026, 3, 3, 2, 0, tzinfo=UTC))
    bench.acknowledge(first)
    bench.round()
    bench.signal(AlarmKind.DRIFT)
    times = _run(bench, datetime(2026, 3, 3, 7, 0, tzinfo=UTC))
    assert times == [datetime(2026, 3, 3, 6, 0, tzinfo=UTC)]
    assert course(bench.sent) == [
        ["ESCAPES RAISED"],
        ["REJECT_RATE RAISED", "REJECT_RATE ACKNOWLEDGED", "DRIFT RAISED"],
    ]
    assert "raised, then acknowledged by bert" in bench.sent[1].text
    assert len(bench.rows(DeliveryState.SENT)) == 4


def test_that_somebody_saw_to_a_critical_alarm_wakes_nobody(bench: RouteBench) -> None:
    bench.clock.at = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
    bench.set(mqtt(quiet=(NIGHT,)))
    alarm_id = bench.signal(AlarmKind.ESCAPES)
    bench.round()
    bench.close(alarm_id)
    assert bench.round() == 0
    assert [row.state for row in bench.rows()] == [DeliveryState.SENT, DeliveryState.HELD]


@pytest.mark.parametrize(("least", "sent"), [(AlarmSeverity.NOTICE, 2), (AlarmSeverity.WARNING, 1), (None, 0)])
def test_people_choose_what_breaks_through(bench: RouteBench, least: AlarmSeverity | None, sent: int) -> None:
    bench.clock.at = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
    bench.set(mqtt(quiet=(NIGHT,), break_through=least))
    bench.signal(AlarmKind.DRIFT)
    bench.signal(AlarmKind.ROLLOUT_WAITS)
    assert bench.round() == sent


def test_what_was_not_delivered_before_quiet_hours_waits_for_their_end(
    bench: RouteBench, sender: RememberingSender
) -> None:
    bench.clock.at = datetime(2026, 3, 2, 21, 59, tzinfo=UTC)
    bench.set(mqtt(quiet=(NIGHT,)))
    sender.fault = "away"
    bench.signal()
    bench.round()
    sender.fault = ""
    times = _run(bench, datetime(2026, 3, 3, 7, 0, tzinfo=UTC))
    assert times == [datetime(2026, 3, 3, 6, 0, tzinfo=UTC)]
    assert len({message.message_id for message in sender.tried}) == 1


@pytest.mark.parametrize(
    ("raised_at", "sent_at"),
    [
        # In Berlin clocks go forward on 29 March 2026, and back on 25 October: 06:00 is 04:00 UTC, then 05:00 UTC.
        ((2026, 3, 28, 22, 0), (2026, 3, 29, 4, 0)),
        ((2026, 10, 24, 22, 0), (2026, 10, 25, 5, 0)),
        ((2026, 7, 1, 22, 0), (2026, 7, 2, 4, 0)),
    ],
)
def test_a_night_ends_by_the_clock_of_the_plant_when_clocks_are_moved(
    bench: RouteBench, raised_at: tuple[int, ...], sent_at: tuple[int, ...]
) -> None:
    bench.clock.at = datetime(*raised_at, tzinfo=UTC)  # type: ignore[misc, arg-type]
    bench.set(mqtt(quiet=(NIGHT,), time_zone="Europe/Berlin"))
    bench.signal()
    assert bench.round() == 0
    assert _run(bench, bench.clock.at + timedelta(hours=10)) == [datetime(*sent_at, tzinfo=UTC)]  # type: ignore[misc, arg-type]


def test_what_is_done_with_is_forgotten_after_a_month_but_not_of_an_open_alarm(
    sqlite_database: Database, clock: StillClock
) -> None:
    bench = RouteBench(sqlite_database, clock, RememberingSender(AlarmSettings(kept_days=30)))
    bench.set(mqtt(reminders=Reminders(after_minutes=60, most=1)))
    closed_id = bench.signal()
    bench.close(closed_id)
    open_id = bench.signal(AlarmKind.DRIFT)
    _run(bench, START + timedelta(days=29), timedelta(hours=7))
    assert {row.alarm_id for row in bench.rows()} == {closed_id, open_id}
    _run(bench, START + timedelta(days=32), timedelta(hours=7))
    assert {row.alarm_id for row in bench.rows()} == {open_id}
    assert len(bench.rows()) == 2
