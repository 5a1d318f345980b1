# SPDX-License-Identifier: Apache-2.0
"""Trainings as jobs of a Ray cluster, over its HTTP job API and a folder that both share.

Keeps to `seam.TrainingBackend`. Knows no tables and no rules, and starts no cluster. Why a shared folder: ADR 0040.

The job's id is made of the training and the number of the attempt, so that a job whose submission was never answered,
or that central was killed over, is found again, and none is begun twice. The result counts as soon as it lies in the
shared folder, whether or not the head still knows the job.
"""

import shlex
import time
from pathlib import Path
from typing import Final

from central.learning_settings import RaySettings
from central.training_backends.ray_api import RayJob, RayJobs
from central.training_backends.results import (
    LOG_NAME,
    has_evaluation,
    keep_log,
    read_evaluation,
    read_progress,
    read_tail,
)
from central.training_backends.seam import Attempt, BackendAwayError, Look, Standing
from central.training_backends.staging import Staging
from contracts.jobs import EvaluationReport, TrainingProgress
from contracts.vocabulary import TrainingState

_LOG_EVERY_S: Final = 5.0
_KILLED: Final = (-9, 137)
_GOES_ON: Final = ("PENDING", "RUNNING")
# What Ray calls the end of a job that the job itself had no part in (ray.dashboard.modules.job.common.JobErrorType).
_LOSSES: Final = frozenset(
    {
        "JOB_SUPERVISOR_ACTOR_DIED",
        "JOB_SUPERVISOR_ACTOR_START_FAILURE",
        "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE",
        "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
    }
)


class RayBackend:
    """See the module."""

    name: Final = "ray"

    def __init__(self, settings: RaySettings) -> None:
        self._settings: Final = settings
        self._shared: Final = Path(settings.folder)
        self._there: Final = settings.folder_there or settings.folder
        self._jobs: Final = RayJobs(settings)
        # What was known when the log was last fetched, and when: it is fetched again when there is news, or after a
        # while, for what a trainer says comes there later than the progress that it writes.
        self._logged: dict[str, tuple[tuple[str, str | None, float | None], float]] = {}

    def start(self, attempt: Attempt) -> str:
        """Lay the job out on the shared folder, then submit."""
        job_id = _id_of(attempt)
        if self._jobs.find(job_id) is None:
            staging = Staging(self._shared, attempt)
            workers = staging.lay_out()
            folder = f"{self._there.rstrip('/')}/{attempt.training_id}"
            command = shlex.join([*self._settings.command, staging.job_name, *self._told_workers(workers)])
            entrypoint = f"cd {shlex.quote(folder)} && exec {command}"
            self._jobs.submit(job_id, entrypoint, {"training_id": attempt.training_id}, is_driver=workers > 1)
        return job_id

    def look(self, attempt: Attempt) -> Look:
        """By the shared folder first, then by the cluster's word."""
        output = Staging(self._shared, attempt).output
        # Before the cluster is asked: what it calls over has written its files by then.
        job_id, has_result = _id_of(attempt), has_evaluation(output)
        try:
            job = self._jobs.find(job_id)
            has_result, progress = has_result or has_evaluation(output), read_progress(output)
            if job is not None:
                self._fetch_log(attempt, job, progress)
        except BackendAwayError:
            if not has_result:
                raise
            return Look(Standing.RUNNING, read_progress(output), has_result=True, handle=job_id)
        if job is None:
            words = f"the cluster does not know {job_id}: its head was restarted and forgot its jobs"
            return Look(Standing.ABSENT, progress, has_result, words if attempt.handle else "")
        standing, words = self._standing(attempt, job, progress)
        return Look(standing, progress, has_result, words, job_id)

    def cancel(self, attempt: Attempt, *, is_patient: bool) -> None:  # noqa: ARG002 - the cluster is patient by itself
        """The cluster asks, and ends what does not listen."""
        self._jobs.stop(_id_of(attempt))

    def collect(self, attempt: Attempt) -> EvaluationReport:
        """Copied from the shared folder: nothing that still writes there can change what central checks."""
        staging = Staging(self._shared, attempt)
        if has_evaluation(staging.output):
            read_evaluation(staging.output)
            staging.bring_back()
        return read_evaluation(attempt.output)

    def forget(self, attempt: Attempt, *, goes_on: bool = False) -> None:
        """The files on the shared folder. The cluster keeps what it knows of the job, for people."""
        self._logged.pop(_id_of(attempt), None)
        Staging(self._shared, attempt).sweep(goes_on=goes_on)

    def _told_workers(self, workers: int) -> list[str]:
        """What each of several workers takes: the job itself then only starts them and waits."""
        asked = self._settings
        if workers == 1:
            return []
        told = ["--on", "ray", "--worker-cpus", f"{asked.cpus:g}", "--worker-gpus", f"{asked.gpus:g}"]
        told += ["--worker-memory-mb", str(asked.memory_mb)] if asked.memory_mb else []
        return [*told, "--worker-resource", asked.resource] if asked.resource else told

    def _standing(self, attempt: Attempt, job: RayJob, progress: TrainingProgress | None) -> tuple[Standing, str]:
        message = " ".join((job.message or "").split())
        if job.status in _GOES_ON:
            return _going_on(job, progress, message)
        if job.driver_exit_code in _KILLED:
            return Standing.LOST, "killed (SIGKILL) on the cluster, by somebody or for want of memory"
        if job.error_type in _LOSSES:
            return Standing.LOST, f"lost by the cluster ({job.error_type}): {message[:500]}"
        said = (progress.error if progress is not None else None) or read_tail(attempt.folder / LOG_NAME)
        if job.status == "STOPPED":
            return Standing.ENDED, "stopped on the cluster"
        return Standing.ENDED, said or message or f"the job ended as {job.status} without a result and without a word"

    def _fetch_log(self, attempt: Attempt, job: RayJob, progress: TrainingProgress | None) -> None:
        news = (job.status, progress.stage if progress else None, progress.fraction if progress else None)
        job_id = _id_of(attempt)
        known, at_s = self._logged.get(job_id, (None, 0.0))
        now_s = time.monotonic()
        if job.status == "PENDING" or (known == news and now_s - at_s < _LOG_EVERY_S):
            return
        said = self._jobs.logs(job_id)
        if said is not None:
            keep_log(attempt.folder, attempt.number, said)
            self._logged[job_id] = news, now_s


def _going_on(job: RayJob, progress: TrainingProgress | None, message: str) -> tuple[Standing, str]:
    if progress is not None and progress.state is TrainingState.QUEUED:
        # The job is there, but its workers have no place yet.
        return Standing.WAITING, progress.stage
    # On a busy head its word comes later than the trainer's.
    has_place = job.status == "RUNNING" or progress is not None
    return (Standing.RUNNING, "") if has_place else (Standing.WAITING, message)


def _id_of(attempt: Attempt) -> str:
    return f"sightline-{attempt.training_id}-{attempt.number}"
