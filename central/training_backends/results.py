# SPDX-License-Identifier: Apache-2.0
"""What a trainer leaves in a folder, as every backend reads it: progress, evaluation, log. Starts and moves nothing."""

import os
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from central.training_backends.seam import TrainingBackendError
from contracts.jobs import EVALUATION_NAME, PROGRESS_NAME, EvaluationReport, TrainingProgress

LOG_NAME: Final = "trainer.log"
_TAIL_BYTES: Final = 2_000


def read_progress(output: Path) -> TrainingProgress | None:
    """Where it stands, by its own word; None before the first word. It is rewritten whole, so never half read."""
    try:
        return TrainingProgress.model_validate_json((output / PROGRESS_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def has_evaluation(output: Path) -> bool:
    """Whether the results are whole."""
    return (output / EVALUATION_NAME).is_file()


def read_evaluation(output: Path) -> EvaluationReport:
    """The result; to be read once `has_evaluation` says that everything else is whole.

    Raises:
        TrainingBackendError: it cannot be read or is no evaluation.
    """
    try:
        return EvaluationReport.model_validate_json((output / EVALUATION_NAME).read_bytes())
    except OSError as error:
        raise TrainingBackendError(f"{EVALUATION_NAME}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise TrainingBackendError(f"{EVALUATION_NAME}: {first['loc']}: {first['msg']}") from error


def read_tail(path: Path, most_bytes: int = _TAIL_BYTES) -> str:
    """The end of a log; empty where there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - most_bytes))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return ""
