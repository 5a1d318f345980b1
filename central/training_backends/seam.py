# SPDX-License-Identifier: Apache-2.0
"""The seam to whatever runs a training: start, look, cancel, collect. The job file is the only input.

Says what every backend keeps to; knows none of them. Rules (how often, how long, what becomes of the result) are on
our side, in `services/trainings/learning.py`. `tests/central/training_backends` runs one battery against each backend.

An attempt is one start of one training. Its number rises with each start, so that what an earlier one may still be
doing somewhere (a node that lost its network) is told apart from what counts now.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from central.errors import CentralError
from contracts.jobs import EvaluationReport, TrainingProgress

JOB_NAME: Final = "job.json"
OUTPUT_FOLDER: Final = "output"


class TrainingBackendError(CentralError):
    """The operator: the backend cannot run this; the training fails with this text."""


class BackendAwayError(CentralError):
    """The link or the operator: the backend does not answer. Tried again by itself; nothing is lost."""


class Standing(StrEnum):
    """How an attempt stands."""

    # Nothing of it is there: it was never started, or the backend forgot it.
    ABSENT = "absent"
    # Accepted; the backend has no place for it yet.
    WAITING = "waiting"
    RUNNING = "running"
    # Over by its own doing: with a result, or with words that say why not.
    ENDED = "ended"
    # Over by nobody's wish: killed from outside, its machine gone. Worth another attempt.
    LOST = "lost"


@dataclass(frozen=True)
class Attempt:
    """One start of one training. `folder` holds the job file, and gets the results. `handle`: what `start` gave."""

    training_id: str
    number: int
    folder: Path
    handle: str | None = None

    @property
    def job_path(self) -> Path:
        """The job file."""
        return self.folder / JOB_NAME

    @property
    def output(self) -> Path:
        """Where the results come to lie."""
        return self.folder / OUTPUT_FOLDER


@dataclass(frozen=True)
class Look:
    """What a backend sees of an attempt. `words`: of one that is over, why; of one that waits, what for.

    `handle`: as `start` gave it, for whoever was killed before writing it down. `has_result` may be true before the
    process is over: `evaluation.json` is written last.
    """

    standing: Standing
    progress: TrainingProgress | None = None
    has_result: bool = False
    words: str = ""
    handle: str | None = None


class TrainingBackend(Protocol):
    """Runs attempts. Every method is short, may be cut off by SIGKILL anywhere, and may be called again."""

    @property
    def name(self) -> str:
        """The word of the settings."""
        ...

    def start(self, attempt: Attempt) -> str:
        """Begin. Of an attempt that was begun already: its handle, and nothing is begun twice.

        Returns:
            The handle to look, cancel and collect with.

        Raises:
            TrainingBackendError: it can never be started like this; the message says why.
            BackendAwayError: nobody answers; call again later with the same attempt.
            OSError: a file or the command cannot be used.
        """
        ...

    def look(self, attempt: Attempt) -> Look:
        """How it stands. Brings the log into the attempt's folder.

        Raises:
            BackendAwayError: nobody answers; nothing is known.
        """
        ...

    def cancel(self, attempt: Attempt, *, is_patient: bool) -> None:
        """Ask it to end (patient), or end it. That it did, `look` tells. One that is over stays as it is.

        Raises:
            BackendAwayError: nobody answers; call again.
        """
        ...

    def collect(self, attempt: Attempt) -> EvaluationReport:
        """Bring the results of `Look.has_result` into `Attempt.output`, whole, and give the evaluation.

        Raises:
            TrainingBackendError: what is there is no result; the training is to be failed with this text.
            BackendAwayError: nobody answers; call again.
        """
        ...

    def forget(self, attempt: Attempt, *, goes_on: bool = False) -> None:
        """The attempt is dealt with: let go of what the backend keeps of it beyond the attempt's folder.

        `goes_on`: the training will be begun again; the steps that are done stay for the next attempt to go on from.
        """
        ...
