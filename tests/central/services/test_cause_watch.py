# SPDX-License-Identifier: Apache-2.0
"""What is likeliest behind an alarm, worked out from stored rows: each cause once, and when to say nothing."""

from datetime import timedelta

import pytest
from sqlmodel import select

from central.services.alarms.rows import Signal, close, raise_alarm
from central.store.cause_tables import CauseSuggestion
from central.store.database import Database
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmKind
from tests.central.services.causes_line import (
    BATCH,
    FOULING,
    LAMP,
    STATIONS,
    CausesLine,
    at_station,
    learnt_monitor,
    of_product,
    times,
)

SECOND = STATIONS[1]


@pytest.fixture(scope="module")
def monitor() -> bytes:
    return learnt_monitor()


@pytest.fixture
def line(sqlite_database: Database, monitor: bytes) -> CausesLine:
    """With a quiet past of over half an hour."""
    line = CausesLine(sqlite_database, monitor)
    line.feed(1_200)
    assert line.alarms() == []
    return line


@pytest.fixture
def any_line(database: Database, monitor: bytes) -> CausesLine:
    """On SQLite and on PostgreSQL."""
    line = CausesLine(database, monitor)
    line.feed(1_200)
    return line


def test_lamp_of_one_station_is_named_with_its_place_and_evidence(line: CausesLine) -> None:
    line.feed(1_200, at_station(SECOND, **LAMP))
    (alarm,) = {alarm.station: alarm for alarm in line.alarms()}.values()
    assert line.likeliest(alarm) == ("CAMERA_OR_LAMP", SECOND, None, "RE_LIGHT")
    found = line.suggestion(alarm)
    assert found is not None
    told = " ".join(found.causes[0]["evidence"])
    assert f"{SECOND}, ring: " in told
    assert "; brightness -1" in told
    assert "Of 4 streams of other stations none moved." in told
    assert found.since.isoformat() == alarm.evidence["onset"]


def test_lens_that_fouls_slowly_is_to_be_cleaned(line: CausesLine) -> None:
    line.feed(4_800, at_station(SECOND, **FOULING), ramp=4_800)
    alarms = line.alarms()
    assert {alarm.station for alarm in alarms} == {SECOND}
    for alarm in alarms:
        assert line.likeliest(alarm) == ("LENS_FOULING", SECOND, None, "CLEAN")


def test_batch_shows_at_all_stations_of_its_product_alone(line: CausesLine) -> None:
    line.feed(1_800, of_product("ring", **BATCH))
    alarms = line.alarms()
    assert {alarm.station for alarm in alarms} == set(STATIONS)
    for alarm in alarms:
        assert line.likeliest(alarm) == ("MATERIAL_BATCH", None, "ring", "HOLD_BATCH")


def test_escapes_with_unchanged_pictures_are_the_models(line: CausesLine) -> None:
    line.audit("ring", 300, 0)
    line.feed(600)
    line.audit("ring", 200, 5)
    line.feed(240)
    (alarm,) = line.alarms()
    assert alarm.kind is AlarmKind.ESCAPES
    assert line.likeliest(alarm) == ("MODEL_WRONG", None, "ring", "RETRAIN")


def test_class_that_nobody_named_before_is_a_new_kind(any_line: CausesLine) -> None:
    line = any_line
    line.audit("ring", 300, 0)
    line.feed(600)
    line.audit("ring", 100, 10, "chatter")
    line.feed(240)
    (alarm,) = line.alarms()
    assert line.likeliest(alarm) == ("NEW_DEFECT_KIND", None, "ring", "AUDIT_MORE")
    line.feed(300)
    line.audit("ring", 100, 5, "chatter")
    line.feed(240)
    assert line.likeliest(alarm) == ("NEW_DEFECT_KIND", None, "ring", "RETRAIN"), "20 of them are enough to learn from"


def test_recipe_that_moved_what_it_touches_is_no_fault(line: CausesLine) -> None:
    line.send_recipe([SECOND], "ring", 2)
    line.feed(2_400, {(SECOND, "ring"): {"brightness": times(1.1)}})
    (alarm,) = line.alarms()
    assert line.likeliest(alarm) == ("WANTED_CHANGE", SECOND, "ring", "NEW_REFERENCE")


def test_recipe_for_all_stations_is_one_change(any_line: CausesLine) -> None:
    line = any_line
    line.send_recipe(STATIONS, "ring", 2)
    line.feed(2_400, of_product("ring", brightness=times(1.1)))
    assert len(line.alarms()) == 3
    for alarm in line.alarms():
        assert line.likeliest(alarm) == ("WANTED_CHANGE", None, "ring", "NEW_REFERENCE")


def test_package_that_lets_defects_through_is_to_be_rolled_back(line: CausesLine) -> None:
    line.feed(600)
    line.audit("ring", 400, 0)
    line.package = "b" * 64
    with line.database.begin() as session:
        raise_alarm(
            session, Signal(AlarmKind.ESCAPES, "escapes", "judge", is_simulated=False, product="ring"), line.now
        )
    line.feed(1_200)
    line.audit("ring", 400, 6)
    line.feed(240)
    (alarm,) = line.alarms()
    assert line.likeliest(alarm) == ("MODEL_WRONG", None, "ring", "ROLL_BACK")


def test_rejects_that_rise_at_all_stations_are_the_process_since_they_rose(any_line: CausesLine) -> None:
    line = any_line
    line.feed(1_800)
    since = line.now
    line.reject_share["ring"] = 0.15
    line.feed(1_200)
    alarms = line.alarms()
    assert {(alarm.kind, alarm.product) for alarm in alarms} == {(AlarmKind.REJECT_RATE, "ring")}
    for alarm in alarms:
        assert line.likeliest(alarm) == ("PROCESS_WORSE", None, "ring", "MEND_PROCESS")
        found = line.suggestion(alarm)
        assert found is not None
        assert abs(found.since - since) < timedelta(minutes=8), "to two blocks of 50 parts"


def test_nothing_is_said_with_too_few_parts(sqlite_database: Database) -> None:
    line = CausesLine(sqlite_database, None)
    line.feed(120)
    with sqlite_database.begin() as session:
        signal = Signal(AlarmKind.IMAGE_SHIFT, "darker", "look", is_simulated=False, station=SECOND, product="ring")
        raise_alarm(session, signal, line.now)
    line.feed(120, at_station(SECOND, **LAMP))
    (alarm,) = line.alarms()
    found = line.suggestion(alarm)
    assert found is not None
    assert found.causes == []


def test_restart_in_between_suggests_the_same(line: CausesLine) -> None:
    line.feed(480, at_station(SECOND, **LAMP))
    (alarm,) = line.alarms()
    before = line.suggestion(alarm)
    line.restart()
    line.causes.tick(line.now + timedelta(hours=1))
    assert line.suggestion(alarm) == before, "monitors that are not there yet are no reason to say less"
    line.feed(600, at_station(SECOND, **LAMP))
    after = line.suggestion(alarm)
    assert before is not None
    assert after is not None
    assert after.computed_at > before.computed_at
    assert line.likeliest(alarm) == ("CAMERA_OR_LAMP", SECOND, None, "RE_LIGHT")


def test_cause_elsewhere_is_not_named_at_an_alarm_that_it_cannot_explain(line: CausesLine) -> None:
    with line.database.begin() as session:
        signal = Signal(
            AlarmKind.REJECT_RATE, "more rejects", "look", is_simulated=False, station=STATIONS[0], product="ring"
        )
        raise_alarm(session, signal, line.now)
    line.feed(1_200, at_station(SECOND, **LAMP))
    (elsewhere, *_) = line.alarms()
    found = line.suggestion(elsewhere)
    assert found is not None
    assert [each for each in found.causes if each["station"] == SECOND] == []


def test_an_alarm_is_asked_about_at_once_then_seldom_and_sooner_with_news(line: CausesLine) -> None:
    signal = Signal(AlarmKind.IMAGE_SHIFT, "darker", "look", is_simulated=False, station=SECOND, product="ring")
    with line.database.begin() as session:
        raise_alarm(session, signal, line.now)

    def asked(after_s: float) -> bool:
        before = line.suggestion(line.alarms()[0])
        line.causes.tick(began + timedelta(seconds=after_s))
        return line.suggestion(line.alarms()[0]) != before

    began = line.now
    assert asked(0)
    assert not asked(60)
    assert asked(181)
    with line.database.begin() as session:
        raise_alarm(session, signal, line.now)
    assert asked(200)
    with line.database.begin() as session:
        close(session.exec(select(Alarm)).one(), "anna", line.now)
    assert not asked(100_000)


def test_one_tick_asks_about_few_alarms_the_others_come_next(line: CausesLine) -> None:
    with line.database.begin() as session:
        for number in range(6):
            signal = Signal(
                AlarmKind.IMAGE_SHIFT,
                "darker",
                "look",
                is_simulated=False,
                station=SECOND,
                evidence={"chart": str(number)},
            )
            raise_alarm(session, signal, line.now)
    counts = []
    for _ in range(3):
        line.causes.tick(line.now)
        with line.database.read() as session:
            counts.append(len(session.exec(select(CauseSuggestion)).all()))
    assert counts == [2, 4, 6]
