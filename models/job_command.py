# SPDX-License-Identifier: Apache-2.0
"""`sightline-models run-job`: a job file as central wrote it, on one worker or on several. Called by `__main__`."""

import argparse
from pathlib import Path

from contracts.codec import CodecError, decode
from contracts.jobs import TrainingJob
from models.cleaning.leaks import keep_apart
from models.clock import SystemClock
from models.errors import InputError
from models.settings import read_settings
from models.training.anchoring import anchored
from models.training.job import run_job


def run_job_file(arguments: argparse.Namespace) -> None:
    """Run it.

    Raises:
        InputError: the file is no job, or it cannot be done.
        WorkerLostError: of several workers too many were lost.
    """
    path: Path = arguments.job
    try:
        job = decode(TrainingJob, path.read_bytes())
    except OSError as error:
        raise InputError(f"job {path}: cannot be read ({error.strerror})") from error
    except CodecError as error:
        raise InputError(f"job {path}: {error}") from error
    if not job.output_dir:
        raise InputError(f"job {path}: output_dir: expected a path, got an empty one")
    job = anchored(job, path.resolve().parent)
    settings = read_settings()
    left_out: list[str] = []
    if job.dataset_id is not None:
        apart = keep_apart(job.images, settings, threads=job.threads)
        job, left_out = job.model_copy(update={"images": apart.images}), apart.left_out
    run_job(job, settings, SystemClock(), left_out=left_out, is_resumable=job.is_resumable)
