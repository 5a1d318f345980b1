# SPDX-License-Identifier: Apache-2.0
"""What every training backend keeps to, whichever it is."""

import hashlib
import signal
from dataclasses import replace

import pytest

from central.training_backends.results import LOG_NAME
from central.training_backends.seam import Standing, TrainingBackendError
from contracts import codec
from contracts.jobs import PACKAGE_FOLDER
from contracts.manifest import MANIFEST_NAME, PackageManifest
from tests.central.training_backends.rigs import (
    IMAGES,
    Rig,
    end,
    is_there,
    look_until,
    until_fitting,
    until_over,
    wait_for,
)


def test_a_job_runs_to_its_end_and_its_result_comes_back_whole(rig: Rig) -> None:
    backend, attempt = rig.stub("finish"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    look = until_over(backend, attempt)
    assert (look.standing, look.has_result) == (Standing.ENDED, True)
    evaluation = backend.collect(attempt)
    assert evaluation.training_id == attempt.training_id
    assert len(evaluation.holdout) == IMAGES // 3
    package = attempt.output / PACKAGE_FOLDER
    content = (package / MANIFEST_NAME).read_bytes()
    assert hashlib.sha256(content).hexdigest() == evaluation.package_id
    for file in codec.decode(PackageManifest, content).files:
        assert hashlib.sha256((package / file.name).read_bytes()).hexdigest() == file.sha256
    # Again, as after a kill in between.
    assert backend.collect(attempt) == evaluation
    backend.forget(attempt)
    backend.forget(attempt)
    assert (package / MANIFEST_NAME).read_bytes() == content


def test_progress_and_log_are_seen_while_it_runs(rig: Rig) -> None:
    backend, attempt = rig.stub("slow"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    look = until_fitting(backend, attempt)
    assert (look.standing, look.has_result) == (Standing.RUNNING, False)
    assert look.progress is not None
    assert look.progress.fraction == pytest.approx(0.4)
    log = attempt.folder / LOG_NAME
    look_until(backend, attempt, lambda _: log.exists() and f"learning from {IMAGES} pictures" in log.read_text())
    (rig.where(attempt) / "go").touch()
    assert until_over(backend, attempt).has_result


def test_starting_again_what_runs_begins_nothing_twice(rig: Rig) -> None:
    backend, attempt = rig.stub("slow"), rig.attempt()
    handle = backend.start(attempt)
    until_fitting(backend, attempt)
    assert rig.stub("slow").start(attempt) == handle
    (rig.where(attempt) / "go").touch()
    assert until_over(backend, replace(attempt, handle=handle)).has_result
    assert rig.runs(attempt) == 1


def test_another_central_finds_a_job_again_without_knowing_its_handle(rig: Rig) -> None:
    attempt = rig.attempt()
    first = rig.stub("slow")
    handle = first.start(attempt)
    until_fitting(first, attempt)
    second = rig.stub("crash")
    look = until_fitting(second, attempt)
    assert (look.standing, look.handle) == (Standing.RUNNING, handle)
    (rig.where(attempt) / "go").touch()
    attempt = replace(attempt, handle=look.handle)
    assert until_over(second, attempt).has_result
    assert second.collect(attempt).training_id == attempt.training_id


def test_a_crash_ends_it_with_the_trainers_own_words(rig: Rig) -> None:
    backend, attempt = rig.stub("crash"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    look = until_over(backend, attempt)
    assert (look.standing, look.has_result) == (Standing.ENDED, False)
    assert "made-up fault" in look.words


@pytest.mark.parametrize(("mode", "is_patient"), [("hang", True), ("hang", False), ("stubborn", False)])
def test_a_cancelled_job_ends_and_leaves_no_process(rig: Rig, mode: str, is_patient: bool) -> None:
    backend, attempt = rig.stub(mode), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    until_fitting(backend, attempt)
    pid = rig.pid(attempt)
    backend.cancel(attempt, is_patient=is_patient)
    look = until_over(backend, attempt)
    assert not look.has_result
    wait_for(lambda: not is_there(pid), f"{mode}: process {pid} is left behind")
    backend.cancel(attempt, is_patient=False)


def test_a_trainer_that_is_killed_from_outside_counts_as_lost(rig: Rig) -> None:
    backend, attempt = rig.stub("hang"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    until_fitting(backend, attempt)
    end(rig.pid(attempt), signal.SIGKILL)
    look = until_over(backend, attempt)
    assert (look.standing, look.has_result) == (Standing.LOST, False)
    assert "SIGKILL" in look.words


def test_the_next_attempt_after_a_loss_starts_anew(rig: Rig) -> None:
    backend, attempt = rig.stub("dies-once"), rig.attempt()
    lost = replace(attempt, handle=backend.start(attempt))
    assert until_over(backend, lost).standing is Standing.LOST
    backend.forget(lost)
    again = replace(attempt, number=2)
    again = replace(again, handle=backend.start(again))
    assert until_over(backend, again).has_result
    assert backend.collect(again).training_id == attempt.training_id


def test_what_was_never_started_is_absent_and_may_be_cancelled(rig: Rig) -> None:
    backend, attempt = rig.stub("finish"), rig.attempt()
    assert backend.look(attempt).standing is Standing.ABSENT
    backend.cancel(attempt, is_patient=False)
    backend.forget(attempt)
    assert rig.runs(attempt) == 0


def test_a_result_that_is_none_is_refused_with_what_is_wrong_about_it(rig: Rig) -> None:
    backend, attempt = rig.stub("nonsense"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    assert until_over(backend, attempt).has_result
    with pytest.raises(TrainingBackendError, match="training_id"):
        backend.collect(attempt)


def test_a_command_that_is_not_there_is_named(rig: Rig) -> None:
    backend, attempt = rig.make(("no-such-trainer",)), rig.attempt()
    try:
        attempt = replace(attempt, handle=backend.start(attempt))
    except OSError as error:
        assert "no-such-trainer" in str(error)  # noqa: PT017 - or it is seen later, below
    else:
        look = until_over(backend, attempt)
        assert look.standing is Standing.ENDED
        assert "no-such-trainer" in look.words
