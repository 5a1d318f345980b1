# SPDX-License-Identifier: Apache-2.0
"""When to train: asked for by a person, called for by an open ESCAPES alarm with enough judged parts, or by a schedule.

Queues and cancels rows; runs nothing (`services/learning.py` does). Used by the routes and by the learning tick.

A training that failed or was refused is not repeated on the same evidence: the next automatic one waits for more
judged pictures. What is missing stands in the alarm's evidence under `learning`; what is likelier than the model to be
at fault under `training_held`, for as long as it holds the training back (`services/training_holds.py`).
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from sqlmodel import Session, col, func, select

from central.domain.learning import Readiness, readiness
from central.errors import ConflictError, NotFoundError
from central.services.alarms import open_alarms
from central.services.package_registry import champion_of, package_under_way
from central.services.training_holds import HELD, LOOKED_FOR, held_back
from central.services.training_jobs import firm_total, judged_since, label_counts, prefers_simulated
from central.settings import LearningSettings
from central.store.database import Database
from central.store.learning_tables import Alarm, Champion, RolloutRow, Training
from central.store.tables import LabelledPicture, Station
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
    held: str | None = None


def _is_news(alarm: Alarm, answer: _Answer) -> bool:
    return (alarm.evidence.get("learning"), alarm.evidence.get(HELD)) != (answer.words, answer.held)


class TrainingRequests:
    """See the module."""

    def __init__(
        self, database: Database, settings: LearningSettings, *, is_cause_asked: bool = False, most_waiting: int = 100
    ) -> None:
        """`is_cause_asked`: a cause watch runs, so its answer on a new alarm is waited for."""
        self._most_waiting = most_waiting
        self._database = database
        self._settings = settings
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
            return self._queue(
                session, product, detector, reason, now, is_simulated=is_simulated, site=site
            ).training_id

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

    def _queue(
        self,
        session: Session,
        product: str,
        detector: DetectorKind,
        reason: str,
        now: datetime,
        *,
        is_simulated: bool,
        alarm: Alarm | None = None,
        trigger: TrainingTrigger = TrainingTrigger.PERSON,
        site: str | None = None,
    ) -> Training:
        counts = label_counts(session, product, is_simulated=is_simulated)
        champion = champion_of(session, product, is_simulated=is_simulated)
        training = Training(
            training_id=f"t-{now:%Y%m%d-%H%M%S}-{uuid4().hex[:6]}",
            product=product,
            detector=detector,
            reason=reason,
            alarm_id=alarm.id if alarm else None,
            trigger=TrainingTrigger.ALARM if alarm else trigger,
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
                if answer.is_called_for and alarm.product is not None:
                    self._queue(
                        session,
                        alarm.product,
                        DetectorKind.AUTO,
                        f"alarm {alarm.id}: {alarm.message}",
                        now,
                        is_simulated=alarm.is_simulated,
                        alarm=alarm,
                    )
                if _is_news(alarm, answer):
                    told = {name: value for name, value in alarm.evidence.items() if name != HELD}
                    held = {} if answer.held is None else {HELD: answer.held}
                    alarm.evidence = {**told, "learning": answer.words, **held}
                    session.add(alarm)

    def answer_schedule(self, now: datetime) -> None:
        """A product that has a champion is trained every so often, where there are labels that no training has seen."""
        if not self._settings.every_days or not self._settings.is_automatic:
            return
        with self._database.read() as session:
            due = [row for row in session.exec(select(Champion)).all() if self._due(session, row, now)]
        for champion in due:
            with self._database.begin() as session:
                fresh = self._due(session, champion, now)
                if not fresh:
                    continue
                reason = f"schedule: every {self._settings.every_days:g} days; {fresh} pictures judged since the last"
                self._queue(
                    session,
                    champion.product,
                    DetectorKind.AUTO,
                    reason,
                    now,
                    is_simulated=champion.is_simulated,
                    trigger=TrainingTrigger.SCHEDULE,
                )

    def _due(self, session: Session, champion: Champion, now: datetime) -> int:
        """Firm judgements that no training has seen; 0 where no training is due, or something stands in its way."""
        product, is_simulated = champion.product, champion.is_simulated
        last = session.exec(
            select(func.max(Training.created_at)).where(
                Training.product == product, Training.is_simulated == is_simulated
            )
        ).one()
        since = last or champion.since
        if now - since < timedelta(days=self._settings.every_days) or package_under_way(session, product) is not None:
            return 0
        try:
            self._refuse_if_busy(session, product)
        except ConflictError:
            return 0
        counts = label_counts(session, product, is_simulated=is_simulated)
        if firm_total(counts, Judgement.GOOD) < self._settings.min_good_labels:
            return 0
        return session.exec(
            select(func.count())
            .select_from(LabelledPicture)
            .where(
                LabelledPicture.product == product,
                LabelledPicture.is_simulated == is_simulated,
                LabelledPicture.added_at > since,
                col(LabelledPicture.judgement).in_(_FIRM),
            )
        ).one()

    def _answer(self, session: Session, alarm: Alarm, now: datetime) -> _Answer:
        ready = self._readiness(session, alarm)
        hindrance = self._hindrance(session, alarm, ready)
        held = None
        if hindrance is None:
            held = held_back(session, alarm, now, is_cause_asked=self._is_cause_asked)
        if hindrance is None and held is None and alarm.product is not None:
            return _Answer(is_called_for=True, words=f"{ready.in_words()}; a training was queued")
        words = f"{ready.in_words()}; {hindrance or held or 'the alarm names no product'}"
        return _Answer(is_called_for=False, words=words, held=None if held == LOOKED_FOR else held)

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

    def _hindrance(self, session: Session, alarm: Alarm, ready: Readiness) -> str | None:
        """Why no training is queued now; None: nothing stands in the way."""
        if not ready.is_enough:
            return "no training yet"
        if not self._settings.is_automatic:
            return "automatic learning is off; start a training by hand"
        try:
            self._refuse_if_busy(session, alarm.product or "")
        except ConflictError as error:
            return str(error)
        waiting = package_under_way(session, alarm.product or "")
        if waiting is not None:
            return f"package {waiting[:12]} awaits the gate or its rollout"
        return self._still_missing(session, alarm)

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
