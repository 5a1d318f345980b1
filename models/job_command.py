# SPDX-License-Identifier: Apache-2.0
"""`sightline-models run-job`: a job file as central wrote it, on one worker or on several. Called by `__main__`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from contracts.codec import CodecError, decode
from contracts.jobs import TrainingJob
from models.cleaning.leaks import keep_apart
from models.clock import SystemClock
from models.distributed.leading import Starter
from models.errors import InputError
from models.settings import Settings, read_settings
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
    job, settings = anchored(job, path.resolve().parent), read_settings()
    if arguments.on == "ray" and job.workers > 1:
        from models.distributed.on_ray import Needs, run_on_ray  # noqa: PLC0415 -- torch, before a training needs it

        needs = Needs(
            arguments.worker_cpus, arguments.worker_gpus, arguments.worker_memory_mb, arguments.worker_resource
        )
        run_on_ray(job, settings, needs, run_apart)
    else:
        run_apart(job, settings)


def run_apart(
    job: TrainingJob, settings: Settings, starter: Starter | None = None, check: Callable[[], None] | None = None
) -> None:
    """Run a job whose held-out pictures are not learnt under other names.

    Args:
        job: of central, or of a person.
        settings: where weights may come from, and bounds.
        starter: of the other workers; None: processes of this machine.
        check: asked now and then; may raise to stop.
    """
    left_out: list[str] = []
    if job.dataset_id is not None:
        look = None if check is None else lambda _row: check()
        apart = keep_apart(job.images, settings, threads=job.threads, check=look)
        job, left_out = job.model_copy(update={"images": apart.images}), apart.left_out
    run_job(
        job, settings, SystemClock(), left_out=left_out, is_resumable=job.is_resumable, starter=starter,
        watch=None if check is None else lambda _stage, _fraction: check(),
    )  # fmt: skip
