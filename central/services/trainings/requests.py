# SPDX-License-Identifier: Apache-2.0
"""When to train: asked for by a person, called for by an open ESCAPES alarm with enough judged parts, or by a schedule.

Queues and cancels rows; runs nothing (`services/trainings/learning.py` does). Used by the routes, by the learning tick
and by the triggers that look at labels and time (`services/trainings/triggers.py`). Every answer is kept as a decision.

A training that failed or was refused is not repeated on the same evidence: the next automatic one waits for more
judged pictures. What is missing stands in the alarm's evidence under `learning`; what is likelier than the model to be
at fault under `training_held`, for as long as it holds the training back (`services/trainings/holds.py`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid4

from sqlmodel import Session, col, func, select

from central.domain.learning import Readiness, readiness
from central.domain.training_triggers import Because, Decision, bound
from central.errors import ConflictError, NotFoundError
from central.learning_settings import TriggerSettings
from central.services.alarms.rows import open_alarms
from central.services.package_registry import champion_of, package_under_way
from central.services.trainings.counts import recent_of
from central.services.trainings.decisions import note_decision
from central.services.trainings.holds import HELD, LOOKED_FOR, held_back, overruled
from central.services.trainings.jobs import firm_total, judged_since, label_counts, prefers_simulated
from central.settings import LearningSettings
from central.store.database import Database
from central.store.learning_tables import Alarm, RolloutRow, Training
from central.store.tables import Station
from contracts.vocabulary import (
    AlarmKind,
    AlarmState,
    DetectorKind,
    Judgement,
    LabelSource,
    RolloutState,
    TrainingState,
    TrainingTrigger,
)

_LOG = logging.getLogger(__name__)

# After a training that did not lead to a rollout, this share of new defective pictures makes another try sensible.
_MORE_LABELS: Final = 1.25
_FIRM: Final = (Judgement.GOOD, Judgement.DEFECTIVE)
_ALIVE: Final = (TrainingState.QUEUED, TrainingState.RUNNING)
_OPEN_ROLLOUTS: Final = (RolloutState.READY, RolloutState.RUNNING, RolloutState.PAUSED)


@dataclass(frozen=True)
class _Answer:
    """Whether a training is to be queued now, what the alarm's evidence says about it, and what holds it back."""

    is_called_for: bool
    words: str
    because: Because
    held: str | None = None
    found: int = 0
    good: int = 0


def _is_news(alarm: Alarm, answer: _Answer) -> bool:
    return (alarm.evidence.get("learning"), alarm.evidence.get(HELD)) != (answer.words, answer.held)


class TrainingRequests:
    """See the module."""

    def __init__(
        self,
        database: Database,
        settings: LearningSettings,
        *,
        is_cause_asked: bool = False,
        triggers: TriggerSettings | None = None,
        most_waiting: int = 100,
        is_withdrawn: Callable[[str], bool] = lambda _package_id: False,
    ) -> None:
        """`is_cause_asked`: a cause watch runs, so its answer on a new alarm is waited for. `triggers`: the bounds.

        `is_withdrawn`: of a package's id, whether the package repository names it no more.
        """
        self._most_waiting = most_waiting
        self._is_withdrawn = is_withdrawn
        self._database = database
        self._settings = settings
        self._triggers = triggers or TriggerSettings()
        self._is_cause_asked = is_cause_asked

    def request(
        self, product: str, detector: DetectorKind, reason: str, now: datetime, *, site: str | None = None
    ) -> str:
        """Queue a training by hand. Real pictures are used where there are any.

        `site`: whose quota it counts against; None: that of all stations, where they are of one site.

        Returns:
            The id of the training.

        Raises:
            ConflictError: one for this product is under way, or too few good pictures are judged; says how many.
        """
        try:
            return self._request(product, detector, reason, now, site)
        except ConflictError as error:
            # In a transaction of its own: the refused one is undone.
            with self._database.begin() as session:
                is_simulated = prefers_simulated(session, product)
                said = Decision(TrainingTrigger.PERSON, Because.REFUSED, str(error), {"asked": reason[:200]})
                note_decision(session, product, said, now, is_simulated=is_simulated)
            raise

    def _request(self, product: str, detector: DetectorKind, reason: str, now: datetime, site: str | None) -> str:
        with self._database.begin() as session:
            is_simulated = prefers_simulated(session, product)
            self._refuse_if_busy(session, product)
            counts = label_counts(session, product, is_simulated=is_simulated)
            good, defective = firm_total(counts, Judgement.GOOD), firm_total(counts, Judgement.DEFECTIVE)
            ready = readiness(good, defective, self._settings.min_good_labels, 0)
            if not ready.is_enough:
                raise ConflictError(
                    f"training of {product}: {ready.in_words()}; add reference parts with "
                    f"POST /products/{product}/reference-parts or judge more audits"
                )
            if detector in (DetectorKind.MIXED, DetectorKind.CLASSIFIER) and defective == 0:
                raise ConflictError(
                    f"training of {product}: {detector} needs defective pictures, there are none; add DEFECTIVE "
                    "reference parts, or leave the detector to AUTO"
                )
            figures = {"good": good, "defective": defective}
            said = Decision(TrainingTrigger.PERSON, Because.CALLED_FOR, reason[:1000], figures)
            training = self.queue(session, product, said, now, is_simulated=is_simulated, detector=detector, site=site)
            return training.training_id

    def cancel(self, training_id: str, now: datetime) -> None:
        """Ask a training to end; the next ticks see to it.

        Raises:
            NotFoundError: there is none.
            ConflictError: it has ended already.
        """
        with self._database.begin() as session:
            training = session.get(Training, training_id)
            if training is None:
                raise NotFoundError(f"training {training_id!r}: no such training")
            if training.state not in _ALIVE:
                raise ConflictError(
                    f"training {training_id}: expected one under way, it is {training.state}; nothing is left to cancel"
                )
            training.cancel_asked_at = training.cancel_asked_at or now
            training.stage = "being cancelled"
            session.add(training)

    def queue(
        self,
        session: Session,
        product: str,
        decision: Decision,
        now: datetime,
        *,
        is_simulated: bool,
        detector: DetectorKind = DetectorKind.AUTO,
        alarm: Alarm | None = None,
        site: str | None = None,
    ) -> Training:
        """A training that a decision called for, and the decision, in the caller's transaction."""
        reason = decision.reason
        counts = label_counts(session, product, is_simulated=is_simulated)
        champion = champion_of(session, product, is_simulated=is_simulated)
        training = Training(
            training_id=f"t-{now:%Y%m%d-%H%M%S}-{uuid4().hex[:6]}",
            product=product,
            detector=detector,
            reason=reason,
            trigger=decision.trigger,
            alarm_id=alarm.id if alarm else None,
            site=site if site is not None else site_of(session, alarm.station if alarm else None),
            created_at=now,
            queued_at=now,
            good=firm_total(counts, Judgement.GOOD),
            defective=firm_total(counts, Judgement.DEFECTIVE),
            audit_labels=sum(counts.get(LabelSource.AUDIT, {}).get(judgement, 0) for judgement in _FIRM),
            labels_seen=firm_total(counts, Judgement.DEFECTIVE),
            champion_package_id=champion.package_id if champion else None,
            is_simulated=is_simulated,
        )
        session.add(training)
        note_decision(
            session, product, decision, now,
            is_simulated=is_simulated, alarm_id=training.alarm_id, training_id=training.training_id,
        )  # fmt: skip
        _LOG.info("training queued training_id=%s product=%s reason=%s", training.training_id, product, reason)
        return training

    def answer_alarms(self, now: datetime) -> None:
        """An open ESCAPES alarm calls for a training as soon as enough new defective parts are judged."""
        with self._database.read() as session:
            open_now = [alarm.id for alarm in open_alarms(session, AlarmKind.ESCAPES)]
        for alarm_id in open_now:
            # Asked without the write lock first: an alarm stays open for days, and mostly nothing has changed.
            with self._database.read() as session:
                alarm = session.get_one(Alarm, alarm_id)
                answer = self._answer(session, alarm, now)
                if not answer.is_called_for and not _is_news(alarm, answer):
                    continue
            with self._database.begin() as session:
                alarm = session.get_one(Alarm, alarm_id)
                if alarm.state is AlarmState.CLOSED:
                    # Dealt with since it was looked for, by a person or by a rollout.
                    continue
                answer = self._answer(session, alarm, now)
                self._decide(session, alarm, answer, now)
                if _is_news(alarm, answer):
                    told = {name: value for name, value in alarm.evidence.items() if name != HELD}
                    held = {} if answer.held is None else {HELD: answer.held}
                    alarm.evidence = {**told, "learning": answer.words, **held}
                    session.add(alarm)

    def _decide(self, session: Session, alarm: Alarm, answer: _Answer, now: datetime) -> None:
        if alarm.product is None:
            return
        figures = {"good": answer.good, "new_defective": answer.found, "alarm_id": alarm.id}
        words = f"alarm {alarm.id}: {alarm.message}" if answer.is_called_for else f"alarm {alarm.id}: {answer.words}"
        said = Decision(TrainingTrigger.ALARM, answer.because, words, figures)
        if answer.is_called_for:
            self.queue(session, alarm.product, said, now, is_simulated=alarm.is_simulated, alarm=alarm)
        else:
            note_decision(session, alarm.product, said, now, is_simulated=alarm.is_simulated, alarm_id=alarm.id)

    def _answer(self, session: Session, alarm: Alarm, now: datetime) -> _Answer:
        ready = self._readiness(session, alarm)
        stop = self._hindrance(session, alarm, ready, now)
        held = None
        if stop is None:
            held = held_back(session, alarm, now, is_cause_asked=self._is_cause_asked)
            stop = None if held is None else (Because.OTHER_CAUSE, held)
        if stop is None and alarm.product is None:
            stop = (Because.REFUSED, "the alarm names no product")
        queued = " ".join(filter(None, ("a training was queued", overruled(session, alarm)))) if stop is None else ""
        return _Answer(
            is_called_for=stop is None,
            words=f"{ready.in_words()}; {queued if stop is None else stop[1]}",
            because=Because.CALLED_FOR if stop is None else stop[0],
            held=None if held == LOOKED_FOR else held,
            found=ready.defective,
            good=ready.good,
        )

    def _readiness(self, session: Session, alarm: Alarm) -> Readiness:
        """New evidence counts, not the reference parts that the champion knew already."""
        product = alarm.product or ""
        champion = champion_of(session, product, is_simulated=alarm.is_simulated)
        counts = label_counts(session, product, is_simulated=alarm.is_simulated)
        found = judged_since(
            session, product, champion.trained_at if champion else None, is_simulated=alarm.is_simulated
        )
        good = firm_total(counts, Judgement.GOOD)
        return readiness(good, found, self._settings.min_good_labels, self._settings.min_defective_labels)

    def _hindrance(self, session: Session, alarm: Alarm, ready: Readiness, now: datetime) -> tuple[Because, str] | None:
        """Why no training is queued now; None: nothing stands in the way."""
        product = alarm.product or ""
        if not ready.is_enough:
            return Because.TOO_FEW_LABELS, "no training yet"
        stop = self.in_the_way(session, product)
        if stop is None and (missing := self._still_missing(session, alarm)) is not None:
            stop = (Because.SAME_EVIDENCE, missing)
        recent = recent_of(session, product, now, is_simulated=alarm.is_simulated)
        return stop or bound(recent, self._triggers, now)

    def in_the_way(self, session: Session, product: str) -> tuple[Because, str] | None:
        """What forbids any training of a product that no person asks for; None: nothing."""
        if not self._settings.is_automatic:
            return Because.OFF, "automatic learning is off; start a training by hand"
        try:
            self._refuse_if_busy(session, product)
        except ConflictError as error:
            return Because.BUSY, str(error)
        waiting = package_under_way(session, product, self._is_withdrawn)
        if waiting is not None:
            return Because.AWAITS_ROLLOUT, f"package {waiting.package_id[:12]} {waiting.standing}"
        return None

    def _still_missing(self, session: Session, alarm: Alarm) -> str | None:
        """What must be judged before the same alarm is answered again."""
        last = session.exec(
            select(Training).where(Training.alarm_id == alarm.id).order_by(col(Training.created_at).desc())
        ).first()
        if last is None:
            return None
        counts = label_counts(session, alarm.product or "", is_simulated=alarm.is_simulated)
        have, wanted = firm_total(counts, Judgement.DEFECTIVE), round(last.labels_seen * _MORE_LABELS)
        if have >= wanted:
            return None
        return f"the last training for this alarm did not mend it; the next one waits for {wanted} defective pictures"

    def _refuse_if_busy(self, session: Session, product: str) -> None:
        alive = session.exec(
            select(Training.training_id).where(Training.product == product, col(Training.state).in_(_ALIVE))
        ).first()
        if alive is not None:
            raise ConflictError(f"training of {product}: training {alive} is under way; wait for it or cancel it")
        waiting = session.exec(
            select(func.count()).select_from(Training).where(Training.state == TrainingState.QUEUED)
        ).one()
        if waiting >= self._most_waiting:
            raise ConflictError(
                f"training of {product}: {waiting} wait already (queue.most_waiting); wait, or cancel one of them"
            )
        rollout = session.exec(
            select(RolloutRow.id).where(RolloutRow.product == product, col(RolloutRow.state).in_(_OPEN_ROLLOUTS))
        ).first()
        if rollout is not None:
            raise ConflictError(f"training of {product}: rollout {rollout} is under way; wait for its end or abort it")


def site_of(session: Session, station: str | None) -> str:
    """The site of a station's address, else the one that all stations belong to; empty: there are several, or none."""
    if station is not None:
        return station.partition("/")[0]
    sites = {address.partition("/")[0] for address in session.exec(select(Station.address)).all()}
    return sites.pop() if len(sites) == 1 else ""
