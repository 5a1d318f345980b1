# SPDX-License-Identifier: Apache-2.0
"""A training is started by itself only where training is the remedy; a person may always ask for one."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import select

from central.quality.cause import Cause
from central.services.alarms.rows import Signal, raise_alarm, say_cause
from central.services.trainings.holds import HELD
from central.services.trainings.requests import TrainingRequests
from central.settings import LearningSettings
from central.store.cause_tables import CauseSuggestion
from central.store.database import Database
from central.store.learning_tables import Alarm, Training
from central.store.repositories import audits
from central.store.tables import LabelledPicture
from contracts.vocabulary import AlarmKind, DetectorKind, Judgement, LabelSource
from tests.central.conftest import START
from tests.central.services.causes_line import FOULING, STATIONS, CausesLine, at_station, learnt_monitor

SETTINGS = LearningSettings(min_defective_labels=6, min_good_labels=10)
FOULED = {"cause": "LENS_FOULING", "station": STATIONS[1], "product": None, "remedy": "CLEAN"}
WRONG = {"cause": "MODEL_WRONG", "station": None, "product": "ring", "remedy": "RETRAIN"}


def enough_labels(database: Database, at: datetime) -> None:
    with database.begin() as session:
        for number in range(20):
            audits.keep_label(
                session,
                LabelledPicture(
                    product="ring", sha256=f"{number:064d}", part_id=f"p-{number}", source=LabelSource.AUDIT,
                    judgement=Judgement.DEFECTIVE if number < 8 else Judgement.GOOD, added_at=at, is_simulated=False,
                ),
            )  # fmt: skip


def alarm_on_escapes(database: Database, now: datetime, *ranked: dict[str, str | None], score: float = 0.8) -> int:
    """With what was suggested for it; nothing ranked: nothing fits."""
    with database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "escapes", "judge", is_simulated=False, product="ring")
        alarm = raise_alarm(session, signal, now)
        causes = [{**each, "score": score, "evidence": ["seen"]} for each in ranked]
        session.add(CauseSuggestion(alarm_id=alarm.id or 0, computed_at=now, since=now, repeats=0, causes=causes))
        return alarm.id or 0


def alarm_now(database: Database) -> Alarm:
    with database.read() as session:
        return session.exec(select(Alarm).where(Alarm.kind == AlarmKind.ESCAPES)).one()


def trainings(database: Database) -> int:
    with database.read() as session:
        return len(session.exec(select(Training)).all())


@pytest.fixture
def requests(sqlite_database: Database) -> TrainingRequests:
    enough_labels(sqlite_database, START)
    return TrainingRequests(sqlite_database, SETTINGS, is_cause_asked=True)


def test_dirty_lens_holds_a_training_back_and_says_so(sqlite_database: Database, requests: TrainingRequests) -> None:
    alarm_on_escapes(sqlite_database, START, FOULED, WRONG)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == 0
    evidence = alarm_now(sqlite_database).evidence
    assert evidence[HELD] == f"no: dirty lens at {STATIONS[1]} is likelier; clean the lens first"
    assert "clean the lens first" in evidence["learning"]


def test_training_that_is_the_remedy_is_started(sqlite_database: Database, requests: TrainingRequests) -> None:
    alarm_on_escapes(sqlite_database, START, WRONG, FOULED)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == 1
    assert HELD not in alarm_now(sqlite_database).evidence


def test_where_nothing_fits_it_is_started_as_before(sqlite_database: Database, requests: TrainingRequests) -> None:
    alarm_on_escapes(sqlite_database, START)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == 1


BATCH = {"cause": "MATERIAL_BATCH", "station": None, "product": "ring", "remedy": "HOLD_BATCH"}
MOVED = {"cause": "CAMERA_MOVED", "station": STATIONS[1], "product": None, "remedy": "RE_AIM"}


UNKNOWN = {"cause": "NEW_DEFECT_KIND", "station": STATIONS[1], "product": "ring", "remedy": "AUDIT_MORE"}


@pytest.mark.parametrize("spoilt", [FOULED, MOVED, UNKNOWN])
def test_what_spoils_pictures_holds_back_however_weak_and_says_how_weak_and_what_to_do(
    sqlite_database: Database, requests: TrainingRequests, spoilt: dict[str, str | None]
) -> None:
    number = alarm_on_escapes(sqlite_database, START, spoilt, WRONG, score=0.13)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == 0
    held = alarm_now(sqlite_database).evidence[HELD]
    assert held.startswith("no: perhaps ")
    assert "(weak evidence, 0.13)" in held
    assert held.endswith(", or say the cause of this alarm")
    with sqlite_database.begin() as session:
        say_cause(session.get_one(Alarm, number), Cause.MODEL_WRONG, "anna", "the lens is clean", START)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == 1


@pytest.mark.parametrize(("score", "started"), [(0.39, 1), (0.4, 0), (0.8, 0)])
def test_a_batch_holds_back_when_it_is_likely_and_is_named_when_it_is_not(
    sqlite_database: Database, requests: TrainingRequests, score: float, started: int
) -> None:
    alarm_on_escapes(sqlite_database, START, BATCH, WRONG, score=score)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == started
    evidence = alarm_now(sqlite_database).evidence
    words = "a training was queued although it may be batch of material of ring (weak evidence, 0.39): hold the batch"
    assert (words in evidence["learning"]) == bool(started)
    assert evidence.get(HELD) == (
        None if started else "no: batch of material of ring is likelier; hold the batch and look at it first"
    )


def test_a_batch_that_a_person_found_holds_back_though_its_evidence_is_weak(
    sqlite_database: Database, requests: TrainingRequests
) -> None:
    number = alarm_on_escapes(sqlite_database, START, BATCH, score=0.13)
    with sqlite_database.begin() as session:
        say_cause(session.get_one(Alarm, number), Cause.MATERIAL_BATCH, "anna", "", START)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == 0


def test_another_answer_lets_a_held_training_go(sqlite_database: Database, requests: TrainingRequests) -> None:
    number = alarm_on_escapes(sqlite_database, START, FOULED)
    requests.answer_alarms(START)
    with sqlite_database.begin() as session:
        row = session.get_one(CauseSuggestion, number)
        row.causes = [{**WRONG, "score": 0.5, "evidence": []}]
        session.add(row)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == 1
    assert HELD not in alarm_now(sqlite_database).evidence


@pytest.mark.parametrize(("said", "suggested", "started"), [
    (Cause.MODEL_WRONG, FOULED, 1), (Cause.NEW_DEFECT_KIND, FOULED, 1), (Cause.LENS_FOULING, WRONG, 0),
])  # fmt: skip
def test_what_a_person_found_counts_before_what_was_suggested(
    sqlite_database: Database,
    requests: TrainingRequests,
    said: Cause,
    suggested: dict[str, str | None],
    started: int,
) -> None:
    number = alarm_on_escapes(sqlite_database, START, suggested)
    with sqlite_database.begin() as session:
        say_cause(session.get_one(Alarm, number), said, "anna", "", START)
    requests.answer_alarms(START)
    assert trainings(sqlite_database) == started
    assert ("says anna" in alarm_now(sqlite_database).evidence.get(HELD, "")) == (not started)


def test_a_new_alarm_waits_for_its_cause_but_not_for_ever(
    sqlite_database: Database, requests: TrainingRequests
) -> None:
    with sqlite_database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "escapes", "judge", is_simulated=False, product="ring")
        raise_alarm(session, signal, START)
    requests.answer_alarms(START + timedelta(minutes=4))
    assert trainings(sqlite_database) == 0
    evidence = alarm_now(sqlite_database).evidence
    assert "is being looked for" in evidence["learning"]
    assert HELD not in evidence, "nothing speaks against it yet"
    requests.answer_alarms(START + timedelta(minutes=6))
    assert trainings(sqlite_database) == 1


def test_a_person_may_ask_for_a_training_that_is_held_back(
    sqlite_database: Database, requests: TrainingRequests
) -> None:
    alarm_on_escapes(sqlite_database, START, FOULED)
    requests.answer_alarms(START)
    requests.request("ring", DetectorKind.AUTO, "all the same", START)
    assert trainings(sqlite_database) == 1


def test_fouling_that_lets_defects_through_trains_nothing_from_rows_to_reason(sqlite_database: Database) -> None:
    """The whole way: parts, drift monitors, audits, both alarms, one cause for both, the training held back."""
    line = CausesLine(sqlite_database, learnt_monitor())
    line.feed(1_200)
    line.audit("ring", 300, 0)
    line.feed(4_800, at_station(STATIONS[1], **FOULING), ramp=4_800)
    line.audit("ring", 200, 5)
    line.feed(360, at_station(STATIONS[1], **FOULING))
    enough_labels(sqlite_database, line.now)
    drifted, escapes = line.alarms()[0], alarm_now(sqlite_database)
    assert drifted.kind is AlarmKind.DRIFT
    assert line.likeliest(escapes) == line.likeliest(drifted) == ("LENS_FOULING", STATIONS[1], None, "CLEAN")
    TrainingRequests(sqlite_database, SETTINGS, is_cause_asked=True).answer_alarms(line.now)
    assert trainings(sqlite_database) == 0
    assert "clean the lens first" in alarm_now(sqlite_database).evidence[HELD]
