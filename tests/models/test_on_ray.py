# SPDX-License-Identifier: Apache-2.0
"""What driver and workers of a cluster tell each other and people, without a cluster."""

import sys
from pathlib import Path

import pytest

from contracts import codec
from contracts.jobs import PROGRESS_NAME, TrainingJob, TrainingProgress
from contracts.vocabulary import Judgement, TrainingState
from models.clock import SystemClock
from models.distributed import on_ray
from models.distributed.on_ray import Needs, Note, run_on_ray
from models.errors import CancelledError, InputError, WorkerLostError, forget_requests, raise_if_asked
from models.job_command import run_apart
from models.settings import Settings
from models.training.progress import Progress
from tests.models.conftest import make_job, unread_part


@pytest.fixture(name="job")
def _job(tmp_path: Path) -> TrainingJob:
    return make_job(tmp_path, [unread_part("g", Judgement.GOOD).image], workers=2)


@pytest.fixture(name="note")
def _note(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> Note:
    # Every look counts.
    monkeypatch.setattr(on_ray, "_LOOK_S", 0.0)
    note = Note(job)
    note.folder.mkdir(parents=True)
    return note


def progress_of(job: TrainingJob) -> TrainingProgress:
    return codec.decode(TrainingProgress, (Path(job.output_dir) / PROGRESS_NAME).read_bytes())


def test_without_ray_the_error_names_the_extra_and_nothing_is_written(
    job: TrainingJob, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"expected Ray in this environment, it is not there .*sightline\[cluster\]"):
        run_on_ray(job, settings, Needs(), run_apart)
    assert not Path(job.output_dir).exists()


def test_a_worker_asks_for_what_was_named_alone() -> None:
    assert Needs().bundle == {"CPU": 1.0}
    whole = {"CPU": 0.5, "GPU": 2.0, "memory": 100 * 1024 * 1024, "camera": 1.0}
    assert Needs(0.5, 2.0, 100, "camera").bundle == whole
    assert Needs(0.0).bundle == {}


def test_a_request_to_stop_reaches_a_worker_once_and_its_last_words_are_not_lost(note: Note, job: TrainingJob) -> None:
    note.check()
    note.cancel()
    with pytest.raises(CancelledError):
        note.check()
    try:
        note.check()
        with pytest.raises(CancelledError):
            # Whatever swallowed it on its way.
            raise_if_asked()
    finally:
        forget_requests()
    again = Note(job)
    with pytest.raises(CancelledError):
        again.check()
    forget_requests()


@pytest.mark.parametrize(
    ("error", "kind"), [(InputError("no such weights"), InputError), (KeyError("a fault"), RuntimeError)]
)
def test_what_one_worker_cannot_do_ends_the_others_and_the_first_word_counts(
    note: Note, job: TrainingJob, error: Exception, kind: type[Exception]
) -> None:
    note.raise_over()
    note.end(error)
    Note(job).end(InputError("a later one"))
    for raising in (note.check, Note(job).raise_over):
        with pytest.raises(kind, match=str(error)):
            raising()
    note.check()


def test_while_there_is_no_room_the_progress_says_what_for_until_the_leader_speaks(
    job: TrainingJob, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "_TOLD_EVERY_S", 0.0)
    assert note.folder.is_dir()
    voice = on_ray._Voice(job, Needs(cpus=2, memory_mb=512, resource="camera"))
    voice.waits({"CPU": 3.0, "memory": 2.0**30}, {"CPU": 4.0, "memory": 2.0**31, "camera": 1.0})
    told = progress_of(job)
    assert told.state is TrainingState.QUEUED
    assert told.stage == (
        "2 workers need 4 CPU, 1024 MiB, 2 camera at once; "
        "free now: 3 CPU of 4 CPU, 1024 MiB of 2048 MiB, 0 camera of 1 camera"
    )
    voice.waits({"CPU": 0.0}, {"CPU": 4.0})
    assert "free now: 0 CPU of 4 CPU" in progress_of(job).stage
    Progress(Path(job.output_dir), job.training_id, SystemClock()).enter("reading pictures", 0.1)
    voice.waits({"CPU": 4.0}, {"CPU": 4.0})
    assert (progress_of(job).state, progress_of(job).stage) == (TrainingState.RUNNING, "reading pictures")


def test_the_driver_has_the_last_word_only_where_nobody_else_had_it(job: TrainingJob, note: Note) -> None:
    assert note.folder.is_dir()
    voice = on_ray._Voice(job, Needs())
    voice.ends(TrainingState.FAILED, "lost")
    assert (progress_of(job).state, progress_of(job).error) == (TrainingState.FAILED, "lost")
    Progress(Path(job.output_dir), job.training_id, SystemClock()).enter("fitting", 0.7)
    voice.ends(TrainingState.CANCELLED, "asked to stop")
    assert (progress_of(job).state, progress_of(job).stage) == (TrainingState.CANCELLED, "fitting")
    voice.ends(TrainingState.FAILED, "later")
    assert progress_of(job).error == "asked to stop"


def test_losses_that_are_not_made_good_are_told_with_the_first_of_them(job: TrainingJob) -> None:
    on_ray._raise_lost(None, job)
    fault = RuntimeError("Training failed")
    fault.worker_failures = {1: OSError("worker died"), 0: OSError("collateral")}  # type: ignore[attr-defined]
    with pytest.raises(WorkerLostError, match=r"2 on Ray did not come to an end, 2 losses are made good: worker died"):
        on_ray._raise_lost(fault, job)
