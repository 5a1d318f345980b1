# SPDX-License-Identifier: Apache-2.0
"""A training's tie to its workers: who starts them, and how a detector gets a head of them or of this process alone.

A head in mid-training is kept with the steps of a resumable training, on one worker as on several. Called by `job`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import TrainingJob
from models.detectors.base import TrainingSet
from models.detectors.head import HeadSettings, HeadTrainer, HeadWeights, train_head
from models.distributed.leading import (
    Gang,
    MemoryKeeper,
    Starter,
    digest_of_features,
    name_of_head,
    threads_of_each,
)
from models.training.gathering import Work
from models.training.progress import Progress


@contextmanager
def gang_of(job: TrainingJob, progress: Progress, notes: list[str], starter: Starter | None) -> Iterator[Gang | None]:
    """The workers that a job asks for, gone at the end; None where it asks for one.

    Args:
        job: says how many.
        progress: told what they use.
        notes: told of lost workers.
        starter: None: processes of this machine.
    """
    if job.workers == 1:
        yield None
        return
    if starter is None:
        from models.distributed.local import LocalFollowers  # noqa: PLC0415 -- torch: seconds, for several workers only

        starter = LocalFollowers(job.workers, threads_of_each(job.workers, job.threads))
    gang = Gang(starter, workers=job.workers, threads=job.threads, notes=notes)
    progress.used_by_others = gang.used
    try:
        yield gang
        gang.finish()
    finally:
        gang.close()


def head_trainer(work: Work) -> HeadTrainer:
    """How a detector of this fit gets its heads."""
    pace, gang, digests = work.progress.pace, work.gang, dict[int, bytes]()

    def train(training: TrainingSet, rows: NDArray[np.int64], settings: HeadSettings, seed: int) -> HeadWeights:
        name = ""
        if work.steps.is_keeping:
            if id(training) not in digests:
                digests[id(training)] = digest_of_features(training)
            name = name_of_head(digests[id(training)], rows, settings, seed)
        state = work.steps.kept(name) if name else None
        keeper = MemoryKeeper(state, lambda content: work.steps.keep(name, content) if name else None)
        if gang is not None:
            return gang.train_head(training, rows, settings, seed, keeper=keeper, pace=pace)
        return train_head(training, rows, settings, seed=seed, keeper=keeper if name else None, pace=pace)

    return train
