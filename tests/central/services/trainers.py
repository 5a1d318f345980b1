# SPDX-License-Identifier: Apache-2.0
"""The stub trainer as a command, and an end to whatever it left running."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from central.training_backends.local import LocalBackend
from central.training_backends.seam import Attempt, TrainingBackend

STUB = Path(__file__).with_name("stub_trainer.py")


def trainer(mode: str) -> tuple[str, ...]:
    return (sys.executable, str(STUB), mode)


def end_trainings(trainings_dir: Path) -> None:
    """SIGKILL to whatever still trains there."""
    for folder in trainings_dir.glob("*"):
        LocalBackend(()).cancel(Attempt(folder.name, 1, folder), is_patient=False)


def children_of(backends: Iterable[TrainingBackend]) -> list[subprocess.Popen[bytes]]:
    """Processes that are still to be waited for."""
    return [child for backend in backends if isinstance(backend, LocalBackend) for child in backend.children]
