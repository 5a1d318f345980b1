# SPDX-License-Identifier: Apache-2.0
"""What happens to alarms reaches the routes that want it, once; what folds, repeats or is simulated reaches nobody."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, delete, select

from central.domain.alarm_routes import AlarmFilter, Reminders
from central.services.alarms import routing
from central.services.alarms.messages import told_of
from central.services.alarms.rows import Signal, raise_alarm
from central.settings import AlarmSettings
from central.store.alarm_route_tables import AlarmDelivery, AlarmTold
from central.store.database import Database
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmEvent, AlarmKind, AlarmSeverity, DeliveryState
from tests.central.conftest import StillClock
from tests.central.services.routes import RememberingSender, RouteBench, course, mqtt


@pytest.fixture(name="bench")
def _bench(sqlite_database: Database, clock: StillClock) -> RouteBench:
    return RouteBench(sqlite_database, clock)


def test_an_alarm_is_told_when_raised_acknowledged_and_closed_on_both_databases(
    database: Database, clock: StillClock
) -> None:
    bench = RouteBench(database, clock)
    bench.set(mqtt())
    alarm_id = bench.signal()
    assert bench.round() == 1
    bench.acknowledge(alarm_id)
    assert bench.round() == 1
    bench.close(alarm_id)
    assert bench.round() == 1
    assert course(bench.sent) == [["REJECT_RATE RAISED"], ["REJECT_RATE ACKNOWLEDGED"], ["REJECT_RATE CLOSED"]]
    assert bench.round() == 0
    assert [row.state for row in bench.rows()] == [DeliveryState.SENT] * 3


def test_a_signal_that_folds_into_an_open_alarm_sends_nothing(bench: RouteBench) -> None:
    bench.set(mqtt())
    first = bench.signal()
    bench.round()
    assert [bench.signal() for _ in range(5)] == [first] * 5
    assert bench.round() == 0
    bench.close(first)
    assert bench.signal() != first
    bench.round()
    assert [event for message in course(bench.sent) for event in message].count("REJECT_RATE RAISED") == 2


def test_all_that_happened_between_two_looks_is_told_in_order(bench: RouteBench) -> None:
    bench.set(mqtt())
    alarm_id = bench.signal()
    bench.acknowledge(alarm_id)
    bench.close(alarm_id)
    assert bench.round() == 3
    assert [message[0].split()[1] for message in course(bench.sent)] == ["RAISED", "ACKNOWLEDGED", "CLOSED"]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (AlarmFilter(), [True, True, True, False]),
        (AlarmFilter(is_simulated=True), [True, True, True, True]),
        (AlarmFilter(is_real=False, is_simulated=True), [False, False, False, True]),
        (AlarmFilter(kinds=(AlarmKind.ESCAPES,)), [False, True, False, False]),
        (AlarmFilter(least_severity=AlarmSeverity.WARNING), [True, True, False, False]),
        (AlarmFilter(least_severity=AlarmSeverity.CRITICAL), [False, True, False, False]),
        # plant/line-1 is not the beginning of plant/line-10; an alarm without a station is about all of them.
        (AlarmFilter(stations=("plant/line-1",)), [True, True, False, False]),
        (AlarmFilter(stations=("other",)), [False, True, False, False]),
        (AlarmFilter(products=("disc",)), [False, True, True, False]),
    ],
)
def test_a_route_gets_what_its_filter_lets_pass(bench: RouteBench, wanted: AlarmFilter, told: list[bool]) -> None:
    bench.set(mqtt(filter=wanted))
    made = [
        bench.signal(AlarmKind.REJECT_RATE, "plant/line-1/st-1", "ring"),
        bench.signal(AlarmKind.ESCAPES, None, "disc"),
        bench.signal(AlarmKind.ROLLOUT_WAITS, "plant/line-10/st-1", None),
        bench.signal(AlarmKind.DRIFT, "plant/line-1/st-2", "ring", is_simulated=True),
    ]
    bench.round()
    assert {row.alarm_id for row in bench.rows()} == {
        number for number, is_told in zip(made, told, strict=True) if is_told
    }


def test_a_route_gets_the_events_it_asked_for(bench: RouteBench) -> None:
    bench.set(mqtt("calls", events=(AlarmEvent.RAISED,)), mqtt("book", events=(AlarmEvent.CLOSED,)))
    bench.close(bench.signal())
    bench.round()
    assert sorted((row.route, row.event) for row in bench.rows()) == [
        ("book", AlarmEvent.CLOSED),
        ("calls", AlarmEvent.RAISED),
    ]


def test_a_route_that_is_switched_off_or_made_later_gets_nothing_of_before(bench: RouteBench) -> None:
    bench.set(mqtt("off", is_enabled=False))
    bench.signal()
    bench.round()
    bench.set(mqtt("off"), mqtt("late"))
    assert bench.round() == 0
    bench.signal(AlarmKind.DRIFT)
    bench.round()
    assert sorted(row.route for row in bench.rows()) == ["late", "off"]


def test_reminders_come_while_nobody_acknowledges_and_no_more_than_asked(bench: RouteBench) -> None:
    bench.set(mqtt(reminders=Reminders(after_minutes=30, most=2)))
    seen, unseen = bench.signal(), bench.signal(AlarmKind.DRIFT)
    bench.round()
    bench.acknowledge(seen)
    bench.round()
    for _ in range(6):
        bench.clock.at += timedelta(minutes=29)
        assert not [row for row in bench.rows() if row.event is AlarmEvent.REMINDER and row.alarm_id == seen]
        bench.round()
        bench.clock.at += timedelta(minutes=2)
        bench.round()
    reminders = [row for row in bench.rows() if row.event is AlarmEvent.REMINDER]
    assert [(row.alarm_id, row.number) for row in reminders] == [(unseen, 1), (unseen, 2)]
    assert [(row.at - bench.rows()[1].at) // timedelta(minutes=1) for row in reminders] == [31, 62]


def test_no_reminder_of_what_has_not_gone_out_yet(bench: RouteBench) -> None:
    bench.set(mqtt(reminders=Reminders(after_minutes=1, most=5)))
    assert isinstance(bench.sender, RememberingSender)
    bench.sender.fault = "away"
    bench.signal()
    for _ in range(5):
        bench.round()
        bench.clock.advance(600)
    assert [row.event for row in bench.rows()] == [AlarmEvent.RAISED]
    bench.sender.fault = ""
    bench.clock.advance(3600)
    bench.round()
    # A reminder that is on its way is not followed by another, either.
    bench.sender.fault = "away"
    for _ in range(5):
        bench.clock.advance(600)
        bench.round()
    assert [(row.event, row.number) for row in bench.rows()] == [(AlarmEvent.RAISED, 0), (AlarmEvent.REMINDER, 1)]


def test_what_happened_while_central_was_away_is_told_and_old_alarms_are_not(bench: RouteBench) -> None:
    bench.set(mqtt())
    alarm_id = bench.signal()
    bench.round()
    bench.close(alarm_id)
    bench.restart()
    assert bench.round() == 1
    bench.restart()
    assert bench.round() == 0
    # Without the mark of what was told nothing may be told twice: the outbox itself refuses.
    with bench.database.begin() as session:
        session.exec(delete(AlarmTold).where(col(AlarmTold.alarm_id) == alarm_id))
    with pytest.raises(Exception, match=r"UNIQUE|unique"):
        bench.round()


def test_a_full_backlog_counts_what_it_leaves_out_and_the_next_message_says_so(
    sqlite_database: Database, clock: StillClock
) -> None:
    sender = RememberingSender(AlarmSettings(backlog_rows=10), fault="away")
    bench = RouteBench(sqlite_database, clock, sender)
    bench.set(mqtt())
    for number in range(25):
        bench.signal(station=f"plant/line-1/st-{number}")
    bench.round()
    assert (len(bench.rows()), bench.route().unsaid) == (10, 15)
    sender.fault = ""
    clock.advance(60)
    bench.round()
    assert sender.sent[0].document["unsaid"] == 15
    assert "15 earlier events never went out over this route" in sender.sent[0].text
    assert bench.route().unsaid == 0
    assert all(message.document["unsaid"] == 0 for message in sender.sent[1:])


def test_nothing_is_taken_in_where_storing_it_fails(bench: RouteBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set(mqtt())
    bench.signal()
    bench.signal(AlarmKind.DRIFT)
    real = told_of

    def broken(alarm: Alarm, event: AlarmEvent, at: datetime) -> dict[str, Any]:
        if alarm.kind is AlarmKind.DRIFT:
            raise OSError("disk full")
        return real(alarm, event, at)

    with monkeypatch.context() as patch:
        patch.setattr(routing, "told_of", broken)
        with pytest.raises(OSError, match="disk full"):
            bench.service.take_in(bench.clock.now())
    assert bench.rows() == []
    assert bench.round() == 2


def test_a_storm_is_taken_in_by_short_transactions(bench: RouteBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set(mqtt("a"), mqtt("b"))
    monkeypatch.setattr(routing, "_MOST_PUT", 20)
    for number in range(45):
        bench.signal(station=f"plant/line-1/st-{number}")
    sizes = []
    real = routing.collect

    def counted(session: Session, backlog_rows: int, now: datetime) -> bool:
        is_more = real(session, backlog_rows, now)
        sizes.append(len(session.exec(select(AlarmDelivery)).all()))
        return is_more

    monkeypatch.setattr("central.services.alarms.delivering.collect", counted)
    bench.service.take_in(bench.clock.now())
    assert sizes == [20, 40, 60, 80, 90]


def test_no_reminder_over_a_route_that_no_longer_wants_the_alarm(bench: RouteBench) -> None:
    bench.set(mqtt(reminders=Reminders(after_minutes=1, most=5)))
    bench.signal()
    bench.round()
    bench.set(mqtt(reminders=Reminders(after_minutes=1, most=5), filter=AlarmFilter(kinds=(AlarmKind.ESCAPES,))))
    bench.clock.advance(3600)
    bench.round()
    assert [row.event for row in bench.rows()] == [AlarmEvent.RAISED]


def test_the_message_says_what_where_since_when_with_figures_remedy_and_link(
    sqlite_database: Database, clock: StillClock
) -> None:
    sender = RememberingSender(AlarmSettings(dashboard_url="https://plant.example/"))
    bench = RouteBench(sqlite_database, clock, sender)
    bench.set(mqtt(time_zone="Europe/Berlin"))
    signal = Signal(
        kind=AlarmKind.ESCAPES,
        message="3 of 40 audited parts were defective (1.6% to 20.4%, 95% interval).",
        remedy="Audit more.",
        is_simulated=False,
        product="ring",
        evidence={"audits": 40, "escape_share_high": 0.2038, "suggested_causes": [{"cause": "MODEL_WRONG"}]},
    )
    with bench.database.begin() as session:
        raise_alarm(session, signal, clock.now())
    bench.round()
    (message,) = sender.sent
    assert message.subject == "[Sightline] CRITICAL: Escapes, ring (raised)"
    for said in (
        "3 of 40 audited parts were defective (1.6% to 20.4%, 95% interval).",
        "Since: 2026-03-01 06:00:30 UTC (2026-03-01 07:00:30 Europe/Berlin)",
        "What to do: Audit more.",
        "Likeliest cause: model wrong",
        "audits: 40",
        "escape share high: 0.2038",
        "Alarms: https://plant.example/alarms",
    ):
        assert said in message.text
    (event,) = message.document["events"]
    assert event["figures"] == {"audits": 40, "escape_share_high": 0.2038}
    assert (event["raised_at"], event["suggested_cause"]) == ("2026-03-01T06:00:30+00:00", "MODEL_WRONG")
