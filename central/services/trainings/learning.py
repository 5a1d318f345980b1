# SPDX-License-Identifier: Apache-2.0
"""Trainings as rows that a worker moves on: QUEUED, RUNNING, then FINISHED, FAILED or CANCELLED.

Starts what the queue says (`services/trainings/queue.py`) where the settings say, looks at it, ends what is to give
way, takes too long or costs too much, and registers and publishes what it made. Does not say when to train
(`services/trainings/requests.py`) nor whether the result is good (`services/gates/promoting.py`), and knows nothing of
how training works nor of where it runs: the seams are `contracts.jobs` and `training_backends.seam`. Ticked by the
worker.

Restart-safe: the row says how far it came, the backend says the rest. A row says RUNNING before anything is started,
and FINISHED in the transaction that registers the package, so that a kill between any two lines repeats work that
changes nothing.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlmodel import col, select

from central.errors import CentralError
from central.learning_settings import CostSettings, QueueSettings, RaySettings, TriggerSettings
from central.services.package_registry import register_package
from central.services.trainings.experiments import keep_given
from central.services.trainings.jobs import choose_field, choose_pictures, counts_of, is_laid_out, lay_out_job
from central.services.trainings.queue import TrainingQueue
from central.services.trainings.requests import TrainingRequests
from central.services.trainings.usage import UsageBook
from central.settings import LearningSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.learning_tables import Package, Training
from central.training_backends.choosing import make_backends
from central.training_backends.seam import Attempt, BackendAwayError, Look, Standing, TrainingBackend
from central.trust.keys import write_whole
from central.trust.repository import PackageRepository
from contracts import codec
from contracts.jobs import PACKAGE_FOLDER, EvaluationReport, TrainingProgress
from contracts.vocabulary import AttemptEnd, Judgement, LabelSource, TrainingState

_LOG = logging.getLogger(__name__)

_KILL_AFTER: Final = timedelta(seconds=15)
# A person who cancels need not wait for a cluster that does not come back.
_GIVE_UP_AFTER: Final = timedelta(seconds=60)
# How the stage of a training begins that does not run.
_WAITING: Final = "waiting "
_MOST_STARTS: Final = 3
# What a training has used by now is written down so often at least.
_NOTED_EVERY: Final = timedelta(seconds=10)
_MOST_ERROR_CHARACTERS: Final = 4_000


class LearningService:
    """See the module."""

    name: Final = "learning"

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        repository: PackageRepository,
        settings: LearningSettings,
        trainings_dir: Path,
        *,
        is_cause_asked: bool = False,
        ray: RaySettings | None = None,
        queue: QueueSettings | None = None,
        cost: CostSettings | None = None,
        triggers: TriggerSettings | None = None,
        backends: Mapping[str, TrainingBackend] | None = None,
    ) -> None:
        """`ray`: the cluster, where there is one. `backends`: by name; None: those of the settings."""
        ray, queue = ray or RaySettings(), queue or QueueSettings()
        self._database = database
        self._blobs = blobs
        self._repository = repository
        self._settings = settings
        self._trainings_dir = trainings_dir
        self._workers: Final = ray.workers if settings.backend == "ray" else settings.workers
        # What one training takes where new ones go.
        self._gpus: Final = ray.gpus * ray.workers if settings.backend == "ray" else 0.0
        self.queue: Final = TrainingQueue(database, queue, self._gpus)
        self._book: Final = UsageBook(cost or CostSettings())
        self._noted: dict[str, datetime] = {}
        self.requests: Final = TrainingRequests(
            database,
            settings,
            is_cause_asked=is_cause_asked,
            triggers=triggers,
            most_waiting=queue.most_waiting,
            is_withdrawn=repository.is_withdrawn,
        )
        self.backends: Final[Mapping[str, TrainingBackend]] = (
            make_backends(settings, ray) if backends is None else dict(backends)
        )

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._settings.period_s

    def tick(self, now: datetime) -> None:
        """Move what runs, start what waits, ask for what an alarm calls for."""
        for training_id in self._ids(TrainingState.RUNNING):
            self._move(training_id, now)
        self._settle_cancelled_in_queue(now)
        turn = self.queue.turn(now)
        for training_id, why in turn.hopeless.items():
            self._end(training_id, TrainingState.FAILED, now, error=why)
        for training_id in turn.starts:
            if not self._start(training_id, now):
                # Nobody answers: the others would wait for the same silence.
                break
        self.requests.answer_alarms(now)

    def _start(self, training_id: str, now: datetime) -> bool:
        """Whether there was anybody to start it."""
        try:
            lost = self._lay_out(training_id, now)
            with self._database.begin() as session:
                training = session.get_one(Training, training_id)
                training.state, training.started_at = TrainingState.RUNNING, now
                training.starts += 1
                training.backend, training.handle = self._settings.backend, None
                training.stage = "starting" if not lost else f"starting; {lost} pictures are no longer stored"
                session.add(training)
                self._book.open(session, training, self._gpus, now)
            attempt = self._attempt(training)
            handle = self.backends[training.backend].start(attempt)
        except BackendAwayError as error:
            self._never_begun(training_id, f"{_WAITING}to start: {error}")
            return False
        except (CentralError, OSError, ValueError) as error:
            self._end(training_id, TrainingState.FAILED, now, error=f"could not start: {error}")
            return True
        with self._database.begin() as session:
            training = session.get_one(Training, training_id)
            training.handle = handle
            session.add(training)
        return True

    def _lay_out(self, training_id: str, now: datetime) -> int:
        """The job file and its pictures; how many of them are no longer stored."""
        with self._database.read() as session:
            training = session.get_one(Training, training_id)
        if training.starts and is_laid_out(self._attempt(training)):
            # Begun before: the same job, or the steps that are done would be of no use.
            return 0
        with self._database.begin() as session:
            training = session.get_one(Training, training_id)
            pictures, use = choose_pictures(session, training, self._settings)
            field = choose_field(session, training, self._settings)
        attempt = self._attempt(training)
        job, lost = lay_out_job(
            training,
            pictures,
            use,
            database=self._database,
            now=now,
            blobs=self._blobs,
            folder=attempt.folder,
            settings=self._settings,
            field=field,
            champion_dir=self._champion_dir(training),
            workers=self._workers,
        )
        content = codec.encode(job)
        write_whole(attempt.job_path, content)
        with self._database.begin() as session:
            training = session.get_one(Training, training_id)
            counts = counts_of(job)
            training.good, training.defective = counts[Judgement.GOOD], counts[Judgement.DEFECTIVE]
            training.audit_labels = sum(image.source is LabelSource.AUDIT for image in job.images)
            session.add(training)
            keep_given(session, job, content, now)
        return lost

    def _move(self, training_id: str, now: datetime) -> None:
        with self._database.read() as session:
            training = session.get_one(Training, training_id)
        backend = self.backends.get(training.backend)
        if backend is None:
            words = f"runs on {training.backend}, which the settings name no more; set it up again, or train anew"
            self._end(training_id, TrainingState.FAILED, now, error=words)
            return
        attempt, look = self._attempt(training), None
        try:
            look = backend.look(attempt)
            if look.has_result and training.cancel_asked_at is None:
                self._finish(training, backend.collect(attempt), look.progress, now)
                backend.forget(attempt)
            elif look.standing is Standing.WAITING and training.cancel_asked_at is not None:
                # Nothing runs yet: the cluster may take its time to take it out of its queue.
                backend.cancel(attempt, is_patient=False)
                self._end(training_id, TrainingState.CANCELLED, now)
            elif look.standing is Standing.WAITING and training.stop_because is AttemptEnd.PREEMPTED:
                backend.cancel(attempt, is_patient=False)
                backend.forget(attempt, goes_on=self._settle(training, look, now))
            elif look.standing in (Standing.RUNNING, Standing.WAITING):
                self._note(training, look, now)
                self._end_if_unwanted(training, backend, attempt, now)
            else:
                backend.forget(attempt, goes_on=self._settle(training, look, now))
        except BackendAwayError as error:
            self._wait_for_backend(training, error, now)
        except (CentralError, ValueError, OSError) as error:
            with suppress(BackendAwayError):
                backend.cancel(attempt, is_patient=False)
            self._hear(training_id, look, now)
            self._end(training_id, TrainingState.FAILED, now, error=str(error))

    def _settle(self, training: Training, look: Look, now: datetime) -> bool:
        """It is over without a result: what that means. Gives whether it will be begun again."""
        training_id, lost = training.training_id, look.words or "the backend knows nothing of it any more"
        self._hear(training_id, look, now)
        if training.cancel_asked_at is not None:
            self._end(training_id, TrainingState.CANCELLED, now)
        elif training.stop_because is AttemptEnd.PREEMPTED:
            return self._back_to_queue(training_id, f"{_WAITING}to go on: it gave way", AttemptEnd.PREEMPTED, now)
        elif training.stop_because is AttemptEnd.OVER_COST:
            with self._database.read() as session:
                words = self._book.too_dear(session, training) or "it cost more than cost.most_per_training"
            self._end(training_id, TrainingState.FAILED, now, error=words, end=AttemptEnd.OVER_COST)
        elif now > self._deadline(training, now):
            self._end(training_id, TrainingState.FAILED, now, error=self._overran(), end=AttemptEnd.OVER_TIME)
        elif (
            look.standing is Standing.ABSENT
            and training.handle is None
            and training.starts - training.preemptions < _MOST_STARTS
        ):
            # Central was killed between writing the state and starting: nothing ran, start again.
            return self._back_to_queue(training_id, f"{_WAITING}to start again", AttemptEnd.LOST, now)
        elif look.standing is Standing.ENDED:
            self._end(training_id, TrainingState.FAILED, now, error=look.words)
        elif training.losses < self._settings.most_losses:
            _LOG.warning("training lost training_id=%s attempt=%d why=%s", training_id, training.starts, lost)
            stage = f"{_WAITING}to start again, lost: {lost}"
            return self._back_to_queue(training_id, stage, AttemptEnd.LOST, now, losses=1)
        else:
            words = f"lost {training.losses + 1} times (learning.most_losses), the last time: {lost}"
            self._end(training_id, TrainingState.FAILED, now, error=words, end=AttemptEnd.LOST)
        return False

    def _back_to_queue(self, training_id: str, stage: str, end: AttemptEnd, now: datetime, *, losses: int = 0) -> bool:
        with self._database.begin() as session:
            row = session.get_one(Training, training_id)
            self._book.close(session, row, end, now)
            row.state, row.queued_at = TrainingState.QUEUED, now
            row.stage = row.stage if row.cancel_asked_at is not None else stage
            row.stop_asked_at, row.stop_because = None, None
            row.losses += losses
            row.preemptions += end is AttemptEnd.PREEMPTED
            session.add(row)
        return True

    def _never_begun(self, training_id: str, stage: str) -> None:
        """An attempt that nobody answered is not counted: the next has its number and finds what was begun."""
        with self._database.begin() as session:
            row = session.get_one(Training, training_id)
            self._book.drop(session, row)
            row.state = TrainingState.QUEUED
            row.stage = row.stage if row.cancel_asked_at is not None else stage
            row.stop_asked_at, row.stop_because = None, None
            row.starts -= 1
            session.add(row)

    def _note(self, training: Training, look: Look, now: datetime) -> None:
        is_waiting, stage, fraction = look.standing is Standing.WAITING, training.stage, training.fraction
        # Of one that was begun by a central that died before it could write this down.
        handle = training.handle or look.handle
        if is_waiting:
            stage = f"{_WAITING}for a place: {look.words}"
        elif look.progress is not None:
            stage, fraction = look.progress.stage, look.progress.fraction
        elif stage.startswith(_WAITING):
            stage = "starting"
        is_same = (stage, fraction, handle) == (training.stage, training.fraction, training.handle)
        if (
            not is_waiting
            and is_same
            and now - self._noted.get(training.training_id, training.created_at) < _NOTED_EVERY
        ):
            return
        self._noted[training.training_id] = now
        with self._database.begin() as session:
            row = session.get_one(Training, training.training_id)
            if row.cancel_asked_at is None and row.stop_asked_at is None:
                row.stage, row.fraction = stage, fraction
            self._book.note(session, row, look.progress, now, has_place=not is_waiting)
            if row.stop_asked_at is None and (words := self._book.too_dear(session, row)):
                row.stop_asked_at, row.stop_because, row.stage = now, AttemptEnd.OVER_COST, f"being ended: {words}"
            if is_waiting:
                # The time limit is for the training, not for the queue of a cluster.
                row.started_at = now
            row.handle = handle
            session.add(row)

    def _end_if_unwanted(self, training: Training, backend: TrainingBackend, attempt: Attempt, now: datetime) -> None:
        """Asked first, so that nothing is left half-written; what does not listen is ended."""
        deadline = self._deadline(training, now)
        asked_at = training.cancel_asked_at or training.stop_asked_at or (deadline if now > deadline else None)
        if asked_at is not None:
            backend.cancel(attempt, is_patient=now - asked_at < _KILL_AFTER)

    def _wait_for_backend(self, training: Training, error: BackendAwayError, now: datetime) -> None:
        """It goes on without us, most likely. Only who wants its end anyway need not wait for the answer."""
        asked_at, deadline = training.cancel_asked_at, self._deadline(training, now)
        still = f"it may still run there as {training.handle or 'an attempt without a handle'}: {error}"
        if asked_at is not None and now - asked_at > _GIVE_UP_AFTER:
            self._end(training.training_id, TrainingState.CANCELLED, now, error=still)
        elif now > deadline + _GIVE_UP_AFTER:
            words = f"{self._overran()}; {still}"
            self._end(training.training_id, TrainingState.FAILED, now, error=words, end=AttemptEnd.OVER_TIME)
        elif (stage := f"{_WAITING}for an answer: {error}") != training.stage and asked_at is None:
            with self._database.begin() as session:
                session.get_one(Training, training.training_id).stage = stage

    def _hear(self, training_id: str, look: Look | None, now: datetime) -> None:
        """Keep its last word on what it used, before anything is made of its end."""
        if look is not None:
            with self._database.begin() as session:
                self._book.note(session, session.get_one(Training, training_id), look.progress, now)

    def _deadline(self, training: Training, now: datetime) -> datetime:
        return (training.started_at or now) + timedelta(seconds=self._settings.timeout_s)

    def _overran(self) -> str:
        return f"took longer than {self._settings.timeout_s:.0f} s"

    def _finish(
        self, training: Training, evaluation: EvaluationReport, progress: TrainingProgress | None, now: datetime
    ) -> None:
        """Publish, then one transaction for registry and state: a restart in between publishes the same again."""
        package_dir = self._attempt(training).output / PACKAGE_FOLDER
        package = register_package(package_dir, evaluation, training, self._repository, now)
        with self._database.begin() as session:
            if session.get(Package, package.package_id) is None:
                session.add(package)
            row = session.get_one(Training, training.training_id)
            row.package_id = evaluation.package_id
            row.evaluation = evaluation.model_dump_json(exclude_none=True)
            self._book.note(session, row, progress, now)
            self._book.close(session, row, AttemptEnd.FINISHED, now)
            _set_ended(row, TrainingState.FINISHED, now)
            session.add(row)
        _LOG.info("training finished training_id=%s package_id=%s", training.training_id, evaluation.package_id)

    def _end(
        self, training_id: str, state: TrainingState, now: datetime, error: str = "", end: AttemptEnd | None = None
    ) -> None:
        self._noted.pop(training_id, None)
        with self._database.begin() as session:
            row = session.get_one(Training, training_id)
            self._book.close(session, row, end or AttemptEnd(state.value), now)
            row.error = error[-_MOST_ERROR_CHARACTERS:] or None
            _set_ended(row, state, now)
            session.add(row)
        _LOG.warning("training ended training_id=%s state=%s error=%s", training_id, state, error)

    def _settle_cancelled_in_queue(self, now: datetime) -> None:
        for training_id in self._ids(TrainingState.QUEUED):
            with self._database.read() as session:
                training = session.get_one(Training, training_id)
            if training.cancel_asked_at is None:
                continue
            # It may have been begun by a call whose answer was lost on the way.
            attempt = self._attempt(training, training.starts + 1)
            try:
                self.backends[self._settings.backend].cancel(attempt, is_patient=False)
                self.backends[self._settings.backend].forget(attempt)
            except BackendAwayError as error:
                self._wait_for_backend(training, error, now)
            else:
                self._end(training_id, TrainingState.CANCELLED, now)

    def _ids(self, state: TrainingState) -> list[str]:
        with self._database.read() as session:
            wanted = select(Training.training_id).where(Training.state == state).order_by(col(Training.created_at))
            return list(session.exec(wanted).all())

    def _attempt(self, training: Training, number: int | None = None) -> Attempt:
        folder = self._trainings_dir / training.training_id
        return Attempt(training.training_id, number or training.starts, folder, training.handle)

    def _champion_dir(self, training: Training) -> Path | None:
        if training.champion_package_id is None:
            return None
        folder = self._repository.targets_dir / training.champion_package_id
        return folder if folder.is_dir() else None


def _set_ended(row: Training, state: TrainingState, now: datetime) -> None:
    row.state, row.finished_at = state, now
    row.stage = state.value.lower()
    row.fraction = 1.0 if state is TrainingState.FINISHED else row.fraction
