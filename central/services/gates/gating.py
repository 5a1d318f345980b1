# SPDX-License-Identifier: Apache-2.0
"""Measures packages beside their champion, one at a time, in a process of its own: QUEUED, RUNNING, FINISHED, FAILED.

Lays out the pictures, starts `sightline-models run-gate` niced and bounded, finds it again after a kill of central, and
takes its report into the row. Does not say whether it is good enough: `services/gates/deciding.py` does. Ticked by the
worker.
"""

import logging
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlmodel import Session, col, select

from central.errors import CentralError, StoreError
from central.gate_settings import GateSettings
from central.services.gates.pictures import ChosenPicture, choose_gate_pictures
from central.services.trainings.jobs import IMAGES_FOLDER, SUFFIXES, place_picture
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.gate_tables import GateRun
from central.store.learning_tables import Package
from central.training_backends.local import LocalBackend
from central.training_backends.seam import OUTPUT_FOLDER, Attempt, Standing
from central.trust.keys import write_whole
from central.trust.repository import PackageRepository
from contracts import codec
from contracts.gating import GATE_REPORT_NAME, GateJob, GatePicture, GateReport
from contracts.vocabulary import TrainingState

_LOG = logging.getLogger(__name__)
_MOST_ERROR_CHARACTERS: Final = 4_000
_EXPECTED: Final = "a gate that needs at most {} MB (gate.memory_limit_mb); raise it"
_ENDED: Final = (TrainingState.FINISHED, TrainingState.FAILED)


def queue_gate(session: Session, package: Package, champion_package_id: str | None, now: datetime) -> None:
    """Ask for a package to be measured beside a champion; one that was measured beside another is measured anew."""
    row = session.get(GateRun, package.package_id)
    if row is None:
        row = GateRun(
            package_id=package.package_id, product=package.product, is_simulated=package.is_simulated, asked_at=now
        )
    elif row.state not in _ENDED:
        return
    row.champion_package_id, row.state, row.asked_at = champion_package_id, TrainingState.QUEUED, now
    row.starts, row.handle, row.error, row.job, row.report, row.evidence = 0, None, None, None, None, None
    session.add(row)


class GatingService:
    """See the module."""

    name: Final = "gating"

    def __init__(
        self, database: Database, blobs: Blobs, repository: PackageRepository, settings: GateSettings, folder: Path
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._repository = repository
        self._settings = settings
        self._folder = folder
        self.backend: Final = LocalBackend(settings.command, settings.memory_limit_mb, _EXPECTED)
        self._is_swept = False

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._settings.period_s

    def tick(self, now: datetime) -> None:
        """Look at what runs; start what waits."""
        running, waiting = self._in(TrainingState.RUNNING), self._in(TrainingState.QUEUED)
        if not self._is_swept:
            self._sweep_leftovers({row.package_id for row in [*running, *waiting]})
        for row in running:
            self._move(row, now)
        if waiting and not running:
            self._start(waiting[0], now)

    def _start(self, row: GateRun, now: datetime) -> None:
        try:
            job, test_pictures = self._lay_out(row, now)
            with self._database.begin() as session:
                kept = session.get_one(GateRun, row.package_id)
                kept.state, kept.started_at, kept.handle = TrainingState.RUNNING, now, None
                kept.starts += 1
                kept.job, kept.test_pictures = codec.encode(job).decode(), test_pictures
                session.add(kept)
            handle = self.backend.start(self._attempt(kept))
        except (CentralError, OSError, ValueError) as error:
            self._fail(row.package_id, f"could not start: {error}", now)
            return
        with self._database.begin() as session:
            kept = session.get_one(GateRun, row.package_id)
            kept.handle = handle
            session.add(kept)

    def _lay_out(self, row: GateRun, now: datetime) -> tuple[GateJob, int]:
        attempt = self._attempt(row)
        images = attempt.folder / IMAGES_FOLDER
        images.mkdir(parents=True, exist_ok=True)
        (attempt.output / GATE_REPORT_NAME).unlink(missing_ok=True)
        with self._database.read() as session:
            chosen, of_test_set = choose_gate_pictures(
                session, row.product, self._settings, now, is_simulated=row.is_simulated
            )
        pictures = [self._placed(each, images, attempt.folder / "cache") for each in chosen]
        job = GateJob(
            package_id=row.package_id,
            package_dir=str(self._package_dir(row.package_id)),
            champion_package_id=row.champion_package_id,
            champion_dir=str(self._package_dir(row.champion_package_id)) if row.champion_package_id else None,
            product=row.product,
            is_simulated=row.is_simulated,
            pictures=[picture for picture in pictures if picture is not None],
            threads=self._settings.threads,
            output_dir=str(attempt.folder / OUTPUT_FOLDER),
        )
        write_whole(attempt.job_path, codec.encode(job))
        return job, min(of_test_set, self._settings.max_pictures)

    def _placed(self, chosen: ChosenPicture, images: Path, cache: Path) -> GatePicture | None:
        """As a file beside the job; None: it is no longer stored, which the test set's condition will tell."""
        label = chosen.label
        path = images / f"{label.sha256}{SUFFIXES.get(label.media_type, '.png')}"
        try:
            place_picture(self._blobs.local_path(label.sha256, cache), path)
        except StoreError as error:
            _LOG.warning("gate picture lost sha256=%s error=%s", label.sha256, error)
            return None
        return GatePicture(
            path=str(path),
            sha256=label.sha256,
            judgement=label.judgement,
            defect_class=label.defect_class,
            group=chosen.part,
            is_test=chosen.is_test,
            inclusion_probability=chosen.inclusion_probability,
        )

    def _package_dir(self, package_id: str) -> Path:
        folder = self._repository.targets_dir / package_id
        if not folder.is_dir():
            raise StoreError(f"package {package_id[:12]}: its files are no longer in {self._repository.targets_dir}")
        return folder

    def _move(self, row: GateRun, now: datetime) -> None:
        attempt = self._attempt(row)
        look = self.backend.look(attempt)
        told = attempt.output / GATE_REPORT_NAME
        # Not while it still ends: it would write into the folder that is swept.
        if told.is_file() and look.standing is not Standing.RUNNING:
            self._finish(row, told, now)
        elif look.standing is Standing.RUNNING:
            if now > (row.started_at or now) + timedelta(seconds=self._settings.timeout_s):
                self.backend.cancel(attempt, is_patient=False)
                self._fail(row.package_id, f"took longer than {self._settings.timeout_s:.0f} s (gate.timeout_s)", now)
        elif look.standing is Standing.ENDED:
            self._fail(row.package_id, look.words, now)
        elif row.starts < self._settings.most_starts:
            _LOG.warning("gate lost package_id=%s attempt=%d why=%s", row.package_id, row.starts, look.words)
            with self._database.begin() as session:
                kept = session.get_one(GateRun, row.package_id)
                kept.state = TrainingState.QUEUED
                session.add(kept)
        else:
            words = look.words or "it was never started"
            self._fail(row.package_id, f"lost {row.starts} times (gate.most_starts), the last time: {words}", now)

    def _finish(self, row: GateRun, told: Path, now: datetime) -> None:
        try:
            content = told.read_bytes()
            report = GateReport.model_validate_json(content)
        except (OSError, ValidationError) as error:
            self._fail(row.package_id, f"{GATE_REPORT_NAME}: {error}", now)
            return
        if (report.package_id, report.champion_package_id) != (row.package_id, row.champion_package_id):
            got = f"{report.package_id[:12]} beside {report.champion_package_id or 'none'}"
            self._fail(row.package_id, f"{GATE_REPORT_NAME}: expected the packages of the job, got {got}", now)
            return
        with self._database.begin() as session:
            kept = session.get_one(GateRun, row.package_id)
            kept.state, kept.finished_at, kept.report, kept.error = TrainingState.FINISHED, now, content.decode(), None
            session.add(kept)
        self._sweep(row)
        _LOG.info("gate measured package_id=%s pictures=%d", row.package_id, len(report.pictures))

    def _fail(self, package_id: str, error: str, now: datetime) -> None:
        with self._database.begin() as session:
            row = session.get_one(GateRun, package_id)
            row.state, row.finished_at, row.error = TrainingState.FAILED, now, error[-_MOST_ERROR_CHARACTERS:]
            session.add(row)
        self._sweep(row)
        _LOG.warning("gate could not measure package_id=%s error=%s", package_id, error)

    def _sweep(self, row: GateRun) -> None:
        """Pictures and log go; what was found stands in the row."""
        shutil.rmtree(self._attempt(row).folder, ignore_errors=True)

    def _sweep_leftovers(self, wanted: set[str]) -> None:
        """Of gates whose end was written down just before central was killed."""
        for folder in self._folder.glob("*"):
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)
        self._is_swept = True

    def _in(self, state: TrainingState) -> list[GateRun]:
        with self._database.read() as session:
            return list(session.exec(select(GateRun).where(GateRun.state == state).order_by(col(GateRun.asked_at))))

    def _attempt(self, row: GateRun) -> Attempt:
        return Attempt(row.package_id, row.starts, self._folder / row.package_id, row.handle)
