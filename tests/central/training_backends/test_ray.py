# SPDX-License-Identifier: Apache-2.0
"""What is particular to trainings on a Ray cluster: heads and workers that die, forgotten jobs, quotas."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from central.learning_settings import RaySettings
from central.services.trainings.learning import LearningService
from central.settings import LearningSettings
from central.store.database import Database
from central.training_backends.ray import RayBackend
from central.training_backends.ray_api import RayJobs
from central.training_backends.seam import Attempt, BackendAwayError, Standing, TrainingBackend, TrainingBackendError
from contracts.vocabulary import DetectorKind, TrainingState
from plant.processes.broker import free_port
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.trainers import trainer
from tests.central.training_backends.cluster import RayCluster
from tests.central.training_backends.conftest import ON_RAY
from tests.central.training_backends.rigs import (
    Rig,
    end,
    is_there,
    look_until,
    ray_rig,
    until_fitting,
    until_over,
    wait_for,
)

pytestmark = ON_RAY


@pytest.fixture(name="rig")
def _rig(tmp_path: Path, ray_cluster: RayCluster) -> Iterator[Rig]:
    yield from ray_rig(tmp_path, ray_cluster.address)


@pytest.fixture(name="slotted")
def _slotted(tmp_path: Path, ray_cluster: RayCluster) -> Iterator[Rig]:
    """Each training takes the one slot of the cluster, as it would take its one GPU."""
    yield from ray_rig(tmp_path, ray_cluster.address, resource="slot")


@pytest.fixture(name="bench")
def _bench(rig: Rig, sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock) -> Bench:
    bench = Bench(sqlite_database, publisher, clock, rig.folder)
    bench.add_references(good=20, defective=6)
    return bench


def begin(bench: Bench, backend: TrainingBackend) -> None:
    settings = LearningSettings(min_good_labels=10, most_losses=1, backend="ray")
    bench.build(learning=settings, backends={"ray": backend})
    if not bench.trainings():
        bench.learning.requests.request(PRODUCT, DetectorKind.AUTO, "asked for by the test", bench.clock.now())


def test_a_training_whose_whole_cluster_dies_is_begun_again_when_it_is_back(
    rig: Rig, bench: Bench, ray_cluster: RayCluster
) -> None:
    begin(bench, rig.stub("slow"))
    bench.tick_until(lambda: bench.trainings()[0].stage == "fitting", wait_s=240)
    attempt = rig.latest(bench)
    pid = rig.pid(attempt)
    ray_cluster.kill()
    wait_for(lambda: not is_there(pid), "the trainer outlived its cluster")
    bench.tick_until(lambda: "does not answer" in bench.trainings()[0].stage, wait_s=60)
    bench.tick(3)
    assert bench.training_states() == [TrainingState.RUNNING]
    (rig.where(attempt) / "go").touch()
    ray_cluster.start()
    bench.tick_until(lambda: bench.training_states() == [TrainingState.FINISHED], wait_s=240)
    (training,) = bench.trainings()
    assert (training.starts, training.losses) == (2, 1)
    bench.tick(2)
    assert len(bench.promotions()) == 1


def test_a_result_counts_though_the_cluster_forgot_the_job(rig: Rig, ray_cluster: RayCluster) -> None:
    backend, attempt = rig.stub("finish"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    until_over(backend, attempt)
    ray_cluster.kill()
    away = backend.look(attempt)
    assert away.has_result
    assert backend.collect(attempt).training_id == attempt.training_id
    ray_cluster.start()
    assert (backend.look(attempt).standing, backend.look(attempt).has_result) == (Standing.ABSENT, True)


def test_a_worker_that_dies_under_a_job_is_a_loss_and_takes_the_trainer_with_it(rig: Rig) -> None:
    backend, attempt = rig.stub("hang"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    until_fitting(backend, attempt)
    pid = rig.pid(attempt)
    worker = psutil.Process(pid)
    while not worker.name().startswith("ray::"):
        parent = worker.parent()
        assert parent is not None
        worker = parent
    end(worker.pid, signal.SIGKILL)
    look = until_over(backend, attempt)
    assert look.standing is Standing.LOST
    assert "JOB_SUPERVISOR_ACTOR_DIED" in look.words
    wait_for(lambda: not is_there(pid), "the trainer outlived its worker")


def test_a_cluster_that_is_not_there_lets_the_training_wait_in_the_queue(
    rig: Rig, bench: Bench, ray_cluster: RayCluster
) -> None:
    nobody = RaySettings(address=f"http://127.0.0.1:{free_port()}", folder=str(rig.folder / "shared"))
    begin(bench, RayBackend(nobody))
    bench.tick(3)
    (training,) = bench.trainings()
    assert (training.state, training.starts) == (TrainingState.QUEUED, 0)
    assert training.stage.startswith(f"waiting to start: Ray at {nobody.address} does not answer")
    there = replace(nobody, address=ray_cluster.address, command=trainer("finish"), cpus=0.5, answer_timeout_s=60.0)
    begin(bench, RayBackend(there))
    bench.tick_until(lambda: bench.training_states() == [TrainingState.FINISHED], wait_s=240)
    assert bench.trainings()[0].starts == 1
    assert not list((rig.folder / "shared").glob("*/images"))


def test_three_trainings_share_one_slot_and_a_waiting_one_is_cancelled(slotted: Rig) -> None:
    backend = slotted.stub("slow")
    attempts = [slotted.attempt() for _ in range(3)]
    attempts = [replace(attempt, handle=backend.start(attempt)) for attempt in attempts]

    def standings() -> list[Standing]:
        return [backend.look(attempt).standing for attempt in attempts]

    look_until(backend, attempts[0], lambda _: Standing.RUNNING in standings())
    running = attempts[standings().index(Standing.RUNNING)]
    until_fitting(backend, running)
    waiting = [attempt for attempt in attempts if attempt is not running]
    assert [backend.look(attempt).standing for attempt in waiting] == [Standing.WAITING] * 2
    assert "resources" in backend.look(waiting[0]).words
    backend.cancel(waiting[0], is_patient=False)
    (slotted.where(running) / "go").touch()
    assert until_over(backend, running).has_result
    look = look_until(backend, waiting[0], lambda look: look.standing is not Standing.WAITING)
    look = until_over(backend, waiting[0])
    assert not look.has_result
    (slotted.where(waiting[1]) / "go").touch()
    assert until_over(backend, waiting[1]).has_result


def test_a_submission_whose_answer_was_lost_may_be_made_again(rig: Rig, ray_cluster: RayCluster) -> None:
    jobs = RayJobs(RaySettings(address=ray_cluster.address, folder=str(rig.folder), cpus=0.5, answer_timeout_s=60.0))
    for _ in range(2):
        jobs.submit(f"twice-{rig.folder.name}", f"echo once >> {rig.folder}/said", {})

    def is_done() -> bool:
        job = jobs.find(f"twice-{rig.folder.name}")
        return job is not None and job.status == "SUCCEEDED"

    wait_for(is_done, "the job was not done")
    assert (rig.folder / "said").read_text() == "once\n"


def test_workers_of_the_settings_reach_job_and_cluster_and_count_in_the_quota(bench: Bench, rig: Rig) -> None:
    there = rig.stub("finish")
    assert isinstance(there, RayBackend)
    settings = replace(there._settings, workers=2, gpus=0.25, memory_mb=100, resource="afar")
    learning = LearningSettings(min_good_labels=10, backend="ray")
    service = LearningService(
        bench.database, bench.blobs, bench.repository, learning, bench.trainings_dir, ray=settings
    )  # fmt: skip
    training_id = service.requests.request(PRODUCT, DetectorKind.AUTO, "asked for by the test", bench.clock.now())
    service.tick(bench.clock.now())
    assert service.queue.gpus_each == 0.5
    assert bench.job(training_id)["workers"] == 2
    told = httpx.get(f"{settings.address}/api/jobs/sightline-{training_id}-1", trust_env=False).json()
    wanted = "job-1.json --on ray --worker-cpus 0.5 --worker-gpus 0.25 --worker-memory-mb 100 --worker-resource afar"
    assert told["entrypoint"].endswith(wanted)
    # The stub knows no workers, and no machine has that resource: it runs, for the job itself asks for nothing.
    wait_for(lambda: rig.runs(Attempt(training_id, 1, bench.trainings_dir / training_id)) == 1, "it never ran")


def test_what_the_cluster_refuses_for_good_is_told_in_its_words(rig: Rig, ray_cluster: RayCluster) -> None:
    settings = RaySettings(address=ray_cluster.address, folder=str(rig.folder), answer_timeout_s=60.0)
    with pytest.raises((TrainingBackendError, BackendAwayError), match=r"Ray at .* refuses the job"):
        RayJobs(settings).submit(f"bad-{rig.folder.name}", "", {"a": 1})  # type: ignore[dict-item]


def test_nothing_of_the_cluster_listens_beyond_loopback(ray_cluster: RayCluster) -> None:
    assert httpx.get(f"{ray_cluster.address}/api/version", trust_env=False).is_success
    listening = []
    for process in ray_cluster.processes():
        # Ray has helpers that live for a moment.
        with suppress(psutil.NoSuchProcess):
            open_ones = process.net_connections(kind="inet")
            listening += [each.laddr.ip for each in open_ones if each.status == psutil.CONN_LISTEN]
    assert len(listening) > 5
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
