# SPDX-License-Identifier: Apache-2.0
"""What is particular to trainings as processes of central's machine."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from central.training_backends.local import LocalBackend
from central.training_backends.seam import Attempt, Standing, TrainingBackend
from tests.central.services.trainers import trainer
from tests.central.training_backends.rigs import Rig, local_rig, until_fitting, until_over


@pytest.fixture(name="rig")
def _rig(tmp_path: Path) -> Iterator[Rig]:
    yield from local_rig(tmp_path)


def begun(backend: TrainingBackend, attempt: Attempt) -> Attempt:
    return replace(attempt, handle=backend.start(attempt))


def test_a_trainer_that_wants_more_memory_than_it_may_fails_and_is_told_so(rig: Rig) -> None:
    backend = LocalBackend(trainer("hungry"), memory_limit_mb=1_000)
    attempt = begun(backend, rig.attempt())
    look = until_over(backend, attempt)
    assert (look.standing, look.has_result) == (Standing.ENDED, False)
    assert look.words.startswith("out of memory: expected a training that needs at most 1000 MB")
    assert "learning.memory_limit_mb" in look.words


def test_a_trainer_within_its_memory_finishes(rig: Rig) -> None:
    backend = LocalBackend(trainer("finish"), memory_limit_mb=1_000)
    assert until_over(backend, begun(backend, rig.attempt())).has_result


def test_a_limit_that_not_even_python_fits_into_is_said_to_be_the_cause(rig: Rig) -> None:
    backend = LocalBackend(trainer("finish"), memory_limit_mb=4)
    look = until_over(backend, begun(backend, rig.attempt()))
    assert not look.has_result
    assert "out of memory" in look.words


def test_the_kernel_would_take_the_trainer_first_and_it_runs_nice(rig: Rig) -> None:
    backend = rig.stub("hang")
    attempt = begun(backend, rig.attempt())
    until_fitting(backend, attempt)
    pid = rig.pid(attempt)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 10


def test_processes_that_are_gone_without_an_exit_code_count_as_lost(rig: Rig) -> None:
    """As after a power cut: nobody was left to write down how it ended."""
    backend = rig.stub("hang")
    attempt = begun(backend, rig.attempt())
    until_fitting(backend, attempt)
    os.killpg(int(attempt.handle or 0), signal.SIGKILL)
    look = until_over(backend, attempt)
    assert look.standing is Standing.LOST
    assert "the machine went down" in look.words


def test_a_number_that_another_process_has_by_now_is_never_signalled(rig: Rig) -> None:
    backend = rig.stub("finish")
    attempt = begun(backend, rig.attempt())
    until_over(backend, attempt)
    other = rig.stub("slow")
    living = begun(other, rig.attempt())
    until_fitting(other, living)
    (attempt.folder / "group").write_text(living.handle or "")
    backend.cancel(replace(attempt, handle=living.handle), is_patient=False)
    (living.folder / "go").touch()
    assert until_over(other, living).has_result
