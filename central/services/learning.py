# SPDX-License-Identifier: Apache-2.0
"""Trainings as rows that a worker moves on: QUEUED, RUNNING, then FINISHED, FAILED or CANCELLED.

Starts one training at a time as a process of its own, watches its files, and registers and publishes what it made.
Does not say when to train (`services/training_requests.py`) nor whether the result is good (`services/promoting.py`),
and knows nothing of how training works: the seam is `contracts.jobs`. Ticked by the worker.

Restart-safe: the row says how far it came, the files say the rest.
"""

import logging
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlmodel import Session, col, select

from central.errors import CentralError
from central.services.package_registry import register_package
from central.services.trainer_run import JOB_NAME, TrainerRun
from central.services.training_jobs import (
    choose_field,
    choose_pictures,
    counts_of,
    lay_out_job,
)
from central.services.training_requests import TrainingRequests
from central.settings import LearningSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.learning_tables import Package, Training
from central.trust.keys import write_whole
from central.trust.repository import PackageRepository
from contracts import codec
from contracts.jobs import PACKAGE_FOLDER, EvaluationReport
from contracts.vocabulary import Judgement, LabelSource, TrainingState

_LOG = logging.getLogger(__name__)

_KILL_AFTER: Final = timedelta(seconds=15)
_MOST_STARTS: Final = 3
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
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._repository = repository
        self._settings = settings
        self._trainings_dir = trainings_dir
        self.requests: Final = TrainingRequests(database, settings, is_cause_asked=is_cause_asked)
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._settings.period_s

    def tick(self, now: datetime) -> None:
        """Move what runs, start what waits, ask for what an alarm calls for."""
        self._children = [child for child in self._children if child.poll() is None]
        for training_id in self._ids(TrainingState.RUNNING):
            self._move(training_id, now)
        self._settle_cancelled_in_queue(now)
        waiting = self._ids(TrainingState.QUEUED)
        if waiting and not self._ids(TrainingState.RUNNING):
            self._start(waiting[0], now)
        self.requests.answer_alarms(now)

    def _start(self, training_id: str, now: datetime) -> None:
        run = self._run(training_id)
        try:
            with self._database.begin() as session:
                training = _get(session, training_id)
                pictures, use = choose_pictures(session, training, self._settings)
                field = choose_field(session, training, self._settings)
            champion_dir = self._champion_dir(training)
            job, lost = lay_out_job(
                training,
                pictures,
                use,
                blobs=self._blobs,
                folder=run.folder,
                settings=self._settings,
                field=field,
                champion_dir=champion_dir,
            )
            write_whole(run.folder / JOB_NAME, codec.encode(job))
            with self._database.begin() as session:
                training = _get(session, training_id)
                training.state, training.started_at = TrainingState.RUNNING, now
                training.starts += 1
                training.stage = "starting" if not lost else f"starting; {lost} pictures are no longer stored"
                counts = counts_of(job)
                training.good, training.defective = counts[Judgement.GOOD], counts[Judgement.DEFECTIVE]
                training.audit_labels = sum(image.source is LabelSource.AUDIT for image in job.images)
                session.add(training)
            child = run.start(self._settings.command)
        except (CentralError, OSError, ValueError) as error:
            self._end(training_id, TrainingState.FAILED, now, error=f"could not start: {error}")
            return
        self._children.append(child)
        with self._database.begin() as session:
            training = _get(session, training_id)
            training.pid = child.pid
            session.add(training)

    def _move(self, training_id: str, now: datetime) -> None:
        with self._database.read() as session:
            training = _get(session, training_id)
        run = self._run(training_id)
        is_alive = run.is_alive()
        try:
            evaluation = run.evaluation()
            if evaluation is not None and training.cancel_asked_at is None:
                self._finish(training, evaluation, now)
                return
        except (CentralError, ValueError, OSError) as error:
            run.end(training.pid, is_patient=False)
            self._end(training_id, TrainingState.FAILED, now, error=str(error))
            return
        started_at = training.started_at or now
        if is_alive:
            self._note_progress(training, run)
            self._end_if_unwanted(training, run, started_at, now)
        elif training.cancel_asked_at is not None:
            self._end(training_id, TrainingState.CANCELLED, now)
        elif training.pid is None and run.progress() is None and training.starts < _MOST_STARTS:
            # Central was killed between writing the state and starting the process: nothing ran, start again.
            self._back_to_queue(training_id)
        else:
            overran = now - started_at > timedelta(seconds=self._settings.timeout_s)
            words = f"took longer than {self._settings.timeout_s:.0f} s" if overran else run.last_words()
            self._end(training_id, TrainingState.FAILED, now, error=words)

    def _back_to_queue(self, training_id: str) -> None:
        with self._database.begin() as session:
            row = _get(session, training_id)
            row.state, row.stage = TrainingState.QUEUED, "waiting to start again"
            session.add(row)

    def _note_progress(self, training: Training, run: TrainerRun) -> None:
        progress = run.progress()
        if progress is None or (progress.stage, progress.fraction) == (training.stage, training.fraction):
            return
        with self._database.begin() as session:
            row = _get(session, training.training_id)
            if row.cancel_asked_at is None:
                row.stage, row.fraction = progress.stage, progress.fraction
            row.pid = row.pid or progress.pid
            session.add(row)

    def _end_if_unwanted(self, training: Training, run: TrainerRun, started_at: datetime, now: datetime) -> None:
        """SIGTERM first, so that nothing is left half-written; SIGKILL for what does not listen."""
        deadline = started_at + timedelta(seconds=self._settings.timeout_s)
        asked_at = training.cancel_asked_at or (deadline if now > deadline else None)
        if asked_at is not None:
            run.end(training.pid, is_patient=now - asked_at < _KILL_AFTER)

    def _finish(self, training: Training, evaluation: EvaluationReport, now: datetime) -> None:
        """Publish, then one transaction for registry and state: a restart in between publishes the same again."""
        package_dir = self._run(training.training_id).output / PACKAGE_FOLDER
        package = register_package(package_dir, evaluation, training, self._repository, now)
        with self._database.begin() as session:
            if session.get(Package, package.package_id) is None:
                session.add(package)
            row = _get(session, training.training_id)
            row.package_id = evaluation.package_id
            row.evaluation = evaluation.model_dump_json(exclude_none=True)
            _set_ended(row, TrainingState.FINISHED, now)
            session.add(row)
        _LOG.info("training finished training_id=%s package_id=%s", training.training_id, evaluation.package_id)

    def _end(self, training_id: str, state: TrainingState, now: datetime, error: str | None = None) -> None:
        with self._database.begin() as session:
            row = _get(session, training_id)
            row.error = error[-_MOST_ERROR_CHARACTERS:] if error else None
            _set_ended(row, state, now)
            session.add(row)
        _LOG.warning("training ended training_id=%s state=%s error=%s", training_id, state, error)

    def _settle_cancelled_in_queue(self, now: datetime) -> None:
        for training_id in self._ids(TrainingState.QUEUED):
            with self._database.read() as session:
                is_asked = _get(session, training_id).cancel_asked_at is not None
            if is_asked:
                self._end(training_id, TrainingState.CANCELLED, now)

    def _ids(self, state: TrainingState) -> list[str]:
        with self._database.read() as session:
            wanted = select(Training.training_id).where(Training.state == state).order_by(col(Training.created_at))
            return list(session.exec(wanted).all())

    def _run(self, training_id: str) -> TrainerRun:
        return TrainerRun(self._trainings_dir / training_id)

    def _champion_dir(self, training: Training) -> Path | None:
        if training.champion_package_id is None:
            return None
        folder = self._repository.targets_dir / training.champion_package_id
        return folder if folder.is_dir() else None


def _get(session: Session, training_id: str) -> Training:
    return session.get_one(Training, training_id)


def _set_ended(row: Training, state: TrainingState, now: datetime) -> None:
    row.state, row.finished_at = state, now
    row.stage = state.value.lower()
    row.fraction = 1.0 if state is TrainingState.FINISHED else row.fraction
