# SPDX-License-Identifier: Apache-2.0
"""What starts a training by itself, on real rows; and that every answer is kept, also "no"."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, col, select

from central.domain.training_triggers import Because
from central.errors import ConflictError
from central.learning_settings import TriggerSettings
from central.services.alarms.rows import Signal, close, raise_alarm
from central.services.trainings.counts import new_labels
from central.services.trainings.decisions import list_decisions
from central.services.trainings.requests import TrainingRequests
from central.services.trainings.triggers import TrainingTriggers
from central.settings import LearningSettings
from central.store.cause_tables import CauseSuggestion
from central.store.database import Database
from central.store.learning_tables import Alarm, Champion, Package, Training, TrainingDecisionRow
from central.store.repositories import audits
from central.store.tables import Audit, Inspection, LabelledPicture, Station
from contracts.vocabulary import (
    AlarmKind,
    AuditState,
    DetectorKind,
    Disposition,
    Judgement,
    LabelSource,
    SignalState,
    TrainingState,
    TrainingTrigger,
    Verdict,
    VerdictCause,
)
from tests.central.conftest import START

GOOD, DEFECTIVE = Judgement.GOOD, Judgement.DEFECTIVE
LEARNING = LearningSettings(min_good_labels=10, min_defective_labels=6)
RULES = TriggerSettings(new_labels=40, new_class_labels=8, schedule_days=30, first_wait_s=600)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Plant:
    """Rows of one product, and the triggers over them."""

    def __init__(self, database: Database, rules: TriggerSettings = RULES) -> None:
        self.database, self.rules = database, rules
        self.requests = TrainingRequests(database, LEARNING, triggers=rules)
        self.triggers = TrainingTriggers(database, LEARNING, rules, self.requests)
        self.made = 0

    def label(
        self,
        count: int,
        judgement: Judgement,
        at: datetime,
        source: LabelSource = LabelSource.REFERENCE,
        *,
        said_by: Sequence[str] = (),
        verdict: Verdict = Verdict.OK,
        defect_class: str | None = None,
        product: str = "ring",
    ) -> None:
        with self.database.begin() as session:
            for _ in range(count):
                self.made += 1
                inspection = self._asked(session, judgement, at, said_by, verdict) if said_by else None
                audits.keep_label(
                    session,
                    LabelledPicture(
                        product=product, sha256=f"{self.made:064d}", part_id=f"p-{self.made}", source=source,
                        judgement=judgement, defect_class=defect_class, inspection_id=inspection, added_at=at,
                        is_simulated=False,
                    ),
                )  # fmt: skip

    def _asked(
        self, session: Session, judgement: Judgement, at: datetime, said_by: Sequence[str], verdict: Verdict
    ) -> int:
        station = session.exec(select(Station)).first() or Station(address="plant/line-1/st-1", first_seen_at=at)
        session.add(station)
        session.flush()
        inspection = Inspection(
            station_id=station.id or 0, epoch=1, sequence=self.made, product="ring", captured_at=at, committed_at=at,
            verdict=verdict, cause=VerdictCause.SCORE, score=0.1, disposition=Disposition.PASSED,
            signal=SignalState.SENT, is_simulated=False,
        )  # fmt: skip
        session.add(inspection)
        session.flush()
        for ask, inspector in enumerate(said_by, 1):
            session.add(
                Audit(
                    inspection_id=inspection.id or 0, product="ring", drawn_at=at, inclusion_probability=0.1,
                    state=AuditState.JUDGED, judgement=judgement, inspector=inspector, judged_at=at, ask=ask,
                    is_simulated=False,
                )
            )  # fmt: skip
        session.flush()
        return inspection.id or 0

    def champion(self, trained_at: datetime) -> None:
        with self.database.begin() as session:
            session.add(
                Package(
                    package_id="c" * 64, product="ring", detector=DetectorKind.MIXED, created_at=trained_at,
                    registered_at=trained_at, size_bytes=1, manifest="{}", is_simulated=False,
                )
            )  # fmt: skip
            session.flush()
            session.add(Champion(product="ring", is_simulated=False, package_id="c" * 64, since=trained_at))

    def end_training(self, at: datetime, state: TrainingState = TrainingState.FAILED) -> None:
        with self.database.begin() as session:
            (row,) = session.exec(
                select(Training).where(col(Training.state).in_([TrainingState.QUEUED, TrainingState.RUNNING]))
            ).all()
            row.state, row.finished_at = state, at
            session.add(row)

    def trainings(self) -> list[Training]:
        with self.database.read() as session:
            return list(session.exec(select(Training).order_by(col(Training.created_at))).all())

    def said(self, trigger: TrainingTrigger | None = None) -> list[TrainingDecisionRow]:
        """Oldest first."""
        with self.database.read() as session:
            rows = list_decisions(session, None, is_standing=False, limit=1000)
        return [row for row in reversed(rows) if trigger is None or row.trigger is trigger]


@pytest.fixture(name="plant")
def _plant(database: Database) -> Plant:
    """On SQLite and on PostgreSQL."""
    return Plant(database)


def test_first_sound_parts_of_a_new_product_train_once_none_is_added_any_more(plant: Plant) -> None:
    plant.label(9, GOOD, START)
    plant.triggers.tick(START)
    assert plant.trainings() == []
    plant.label(3, GOOD, START)
    plant.triggers.tick(START + timedelta(seconds=599))
    assert plant.trainings() == []
    plant.triggers.tick(START + timedelta(seconds=600))
    (training,) = plant.trainings()
    assert (training.trigger, training.product, training.good) == (TrainingTrigger.FIRST_PARTS, "ring", 12)
    answers = [(row.because, row.is_yes) for row in plant.said(TrainingTrigger.FIRST_PARTS)]
    assert answers == [("TOO_FEW_LABELS", False), ("STILL_COMING", False), ("CALLED_FOR", True)]
    assert plant.said(TrainingTrigger.FIRST_PARTS)[-1].training_id == training.training_id
    # Another look, and one after it failed: the same parts are not trained on again.
    plant.triggers.tick(START + timedelta(seconds=700))
    plant.end_training(START + HOUR)
    plant.triggers.tick(START + DAY)
    assert len(plant.trainings()) == 1


def test_enough_new_labels_train_and_the_same_labels_do_not_again(plant: Plant) -> None:
    plant.label(30, GOOD, START)
    plant.champion(START + HOUR)
    plant.label(39, GOOD, START + DAY, LabelSource.AUDIT)
    plant.triggers.tick(START + DAY)
    assert plant.trainings() == []
    plant.label(1, GOOD, START + DAY, LabelSource.AUDIT)
    plant.triggers.tick(START + DAY + HOUR)
    (training,) = plant.trainings()
    assert training.trigger is TrainingTrigger.LABELS
    assert training.champion_package_id == "c" * 64
    plant.end_training(START + DAY + 2 * HOUR)
    for hours in (3, 48):
        plant.triggers.tick(START + DAY + hours * HOUR)
    assert len(plant.trainings()) == 1
    standing = plant.said(TrainingTrigger.LABELS)[-1]
    assert (standing.because, standing.figures["new_labels"]) == ("TOO_FEW_LABELS", 0)


@pytest.mark.parametrize(
    ("said_by", "verdict", "source", "is_counted"),
    [
        (("anna", "bert"), Verdict.OK, LabelSource.AUDIT, True),
        # Nobody confirmed it.
        (("anna",), Verdict.OK, LabelSource.REVIEW, False),
        (("anna", "anna"), Verdict.OK, LabelSource.AUDIT, False),
        # The champion found it by itself.
        (("anna", "bert"), Verdict.NG, LabelSource.AUDIT, False),
        # A reference part is of known class.
        ((), Verdict.OK, LabelSource.REFERENCE, True),
    ],
)
def test_a_class_counts_confirmed_labels_of_what_the_champion_did_not_find(
    plant: Plant, said_by: Sequence[str], verdict: Verdict, source: LabelSource, is_counted: bool
) -> None:
    plant.label(30, GOOD, START)
    plant.champion(START + HOUR)
    plant.label(8, DEFECTIVE, START + DAY, source, said_by=said_by, verdict=verdict, defect_class="crack")
    plant.triggers.tick(START + DAY)
    assert len(plant.trainings()) == is_counted
    figures = plant.said(TrainingTrigger.LABELS)[-1].figures
    assert figures["new_by_class"] == ({"crack": 8} if is_counted else {})


def test_one_answer_is_enough_where_nobody_confirms(plant: Plant) -> None:
    plant.label(3, DEFECTIVE, START + DAY, LabelSource.AUDIT, said_by=("anna",), defect_class="crack")
    with plant.database.read() as session:
        for is_confirmed, count in ((True, 0), (False, 3)):
            total, by_class = new_labels(session, "ring", START, is_simulated=False, is_confirmed=is_confirmed)
            assert (total, by_class["crack"]) == (count, count)


def test_a_schedule_renews_only_what_has_new_labels(plant: Plant) -> None:
    plant.label(30, GOOD, START)
    plant.champion(START)
    plant.triggers.tick(START + 31 * DAY)
    assert plant.trainings() == []
    assert plant.said(TrainingTrigger.SCHEDULE)[-1].because == "TOO_FEW_LABELS"
    plant.label(10, GOOD, START + 31 * DAY, LabelSource.AUDIT)
    plant.triggers.tick(START + 31 * DAY)
    assert [row.trigger for row in plant.trainings()] == [TrainingTrigger.SCHEDULE]


def test_a_dirty_lens_holds_every_trigger_back_until_its_alarm_is_closed(plant: Plant) -> None:
    plant.label(30, GOOD, START)
    plant.champion(START + HOUR)
    plant.label(50, GOOD, START + DAY, LabelSource.AUDIT)
    fouled = {
        "cause": "LENS_FOULING", "station": "plant/line-1/st-1", "product": None, "remedy": "CLEAN",
        "score": 0.8, "evidence": ["seen"],
    }  # fmt: skip
    with plant.database.begin() as session:
        signal = Signal(AlarmKind.DRIFT, "drift", "look", is_simulated=False, product="ring")
        alarm = raise_alarm(session, signal, START)
        number = alarm.id or 0
        session.add(CauseSuggestion(alarm_id=number, computed_at=START, since=START, repeats=0, causes=[fouled]))
    plant.triggers.tick(START + DAY)
    assert plant.trainings() == []
    held = plant.said(TrainingTrigger.LABELS)[-1]
    assert held.because == "OTHER_CAUSE"
    assert "clean the lens first" in held.reason
    with plant.database.begin() as session:
        close(session.get_one(Alarm, number), "anna", START + DAY)
    plant.triggers.tick(START + DAY + HOUR)
    assert [row.trigger for row in plant.trainings()] == [TrainingTrigger.LABELS]


def test_quiet_time_and_budget_hold_an_alarm_back_too_and_never_a_person(database: Database) -> None:
    plant = Plant(database, replace(RULES, week_budget=2, quiet_hours=2.0))
    plant.label(20, GOOD, START)
    plant.label(20, DEFECTIVE, START + HOUR, LabelSource.AUDIT)
    at = START + DAY
    for number in range(2):
        with plant.database.begin() as session:
            signal = Signal(
                AlarmKind.ESCAPES, "escapes", "judge", is_simulated=False, product="ring", evidence={"chart": number}
            )
            raise_alarm(session, signal, at)
        plant.requests.answer_alarms(at)
        assert len(plant.trainings()) == number + 1
        plant.end_training(at)
        with plant.database.begin() as session:
            for alarm in session.exec(select(Alarm)).all():
                close(alarm, "anna", at)
        at += 3 * HOUR
    with plant.database.begin() as session:
        raise_alarm(session, Signal(AlarmKind.ESCAPES, "escapes", "judge", is_simulated=False, product="ring"), at)
    plant.requests.answer_alarms(at)
    assert plant.said()[-1].because == Because.BUDGET_SPENT
    plant.requests.answer_alarms(at - 2 * HOUR)
    assert plant.said()[-1].because == Because.QUIET
    assert len(plant.trainings()) == 2
    plant.requests.request("ring", DetectorKind.AUTO, "all the same", at)
    assert plant.said()[-1].trigger is TrainingTrigger.PERSON
    assert plant.trainings()[-1].trigger is TrainingTrigger.PERSON
    # What people asked for is not in the budget, and what an alarm was told is in its evidence.
    plant.end_training(at)
    plant.requests.answer_alarms(at + 7 * DAY)
    assert len(plant.trainings()) == 4


def test_what_people_ask_for_spends_no_budget_and_begins_no_quiet_time(database: Database) -> None:
    plant = Plant(database, replace(RULES, week_budget=1, quiet_hours=2.0))
    plant.label(20, GOOD, START)
    plant.label(20, DEFECTIVE, START + HOUR, LabelSource.AUDIT)
    for _ in range(2):
        plant.requests.request("ring", DetectorKind.AUTO, "by hand", START)
        plant.end_training(START + DAY)
    with plant.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "escapes", "judge", is_simulated=False, product="ring")
        raise_alarm(session, signal, START + DAY)
    plant.requests.answer_alarms(START + DAY)
    assert [row.trigger for row in plant.trainings()][-1] is TrainingTrigger.ALARM


def test_an_answer_is_kept_once_and_its_figures_follow(plant: Plant) -> None:
    plant.label(30, GOOD, START)
    plant.champion(START)
    for hour in range(1, 6):
        plant.triggers.tick(START + hour * HOUR)
    rows = plant.said()
    assert [row.trigger for row in rows] == [
        TrainingTrigger.FIRST_PARTS, TrainingTrigger.LABELS, TrainingTrigger.SCHEDULE,
    ]  # fmt: skip
    plant.label(5, GOOD, START + 6 * HOUR, LabelSource.AUDIT)
    plant.triggers.tick(START + 7 * HOUR)
    again = plant.said(TrainingTrigger.LABELS)
    assert [row.id for row in again] == [rows[1].id]
    assert (again[0].at, again[0].renewed_at) == (START + HOUR, START + 7 * HOUR)
    assert again[0].figures["new_labels"] == 5
    assert again[0].reason == "5 of 40 new confirmed labels, 0 of 8 of one class since the champion's dataset"


def test_a_restart_says_nothing_anew(plant: Plant) -> None:
    plant.label(30, GOOD, START)
    plant.champion(START)
    plant.triggers.tick(START + HOUR)
    before = [row.model_dump() for row in plant.said()]
    Plant(plant.database).triggers.tick(START + 2 * HOUR)
    assert [row.model_dump() for row in plant.said()] == before


def test_what_a_person_was_refused_is_kept_with_the_reason(plant: Plant) -> None:
    plant.label(3, GOOD, START)
    for _ in range(2):
        with pytest.raises(ConflictError, match="7 good"):
            plant.requests.request("ring", DetectorKind.AUTO, "please", START)
    (row,) = plant.said()
    assert (row.trigger, row.is_yes, row.because) == (TrainingTrigger.PERSON, False, "REFUSED")
    assert "7 good and 0 defective ones are missing" in row.reason
    assert row.figures == {"asked": "please"}


def test_two_looks_at_once_queue_one_training(plant: Plant) -> None:
    """The second look decided before the first wrote: it asks again under the write lock."""
    plant.label(12, GOOD, START)
    later = START + HOUR
    decided = plant.triggers._decide

    def first_somebody_else(*arguments: object, **named: object) -> object:
        answer = decided(*arguments, **named)  # type: ignore[arg-type]
        if not plant.trainings():
            plant.triggers._decide = decided  # type: ignore[method-assign]
            plant.requests.request("ring", DetectorKind.AUTO, "by hand", later)
        return answer

    plant.triggers._decide = first_somebody_else  # type: ignore[method-assign, assignment]
    plant.triggers.tick(later)
    assert [row.trigger for row in plant.trainings()] == [TrainingTrigger.PERSON]


def test_the_table_is_bounded_and_what_holds_now_stays(plant: Plant) -> None:
    plant.label(3, GOOD, START)
    plant.label(3, GOOD, START, product="cap")
    plant.triggers.tick(START)
    holds = {row.id for row in plant.said()}
    with plant.database.begin() as session:
        for number in range(300):
            session.add(
                TrainingDecisionRow(
                    product="ring", is_simulated=False, trigger=TrainingTrigger.PERSON, at=START, renewed_at=START,
                    is_yes=True, because="CALLED_FOR", reason=str(number),
                )
            )  # fmt: skip
    few = Plant(plant.database, replace(RULES, kept_decisions=50))
    few.triggers.tick(START)
    rows = few.said()
    assert len(rows) == 50 + len(holds)
    assert holds <= {row.id for row in rows}
    assert rows[-1].reason == "299"
    with plant.database.read() as session:
        standing = list_decisions(session, "ring", is_standing=True, limit=100)
    assert len(standing) == len({row.trigger for row in standing}) == 4


def test_an_answer_to_an_alarm_holds_no_more_once_it_is_closed(plant: Plant) -> None:
    with plant.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "escapes", "judge", is_simulated=False, product="ring")
        number = raise_alarm(session, signal, START).id or 0
    plant.requests.answer_alarms(START)
    (row,) = plant.said()
    assert (row.trigger, row.alarm_id, row.because) == (TrainingTrigger.ALARM, number, "TOO_FEW_LABELS")
    for is_closed in (False, True):
        if is_closed:
            with plant.database.begin() as session:
                close(session.get_one(Alarm, number), "anna", START)
        with plant.database.read() as session:
            assert len(list_decisions(session, None, is_standing=True, limit=10)) == (not is_closed)
