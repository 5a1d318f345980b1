# SPDX-License-Identifier: Apache-2.0
"""A training on two workers of a real Ray cluster: what two local ones learn, with one killed; waiting; cancelled."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from central.training_backends.seam import Attempt, Standing, TrainingBackend
from central.trust.keys import write_whole
from contracts import codec
from contracts.jobs import CLUSTER_FOLDER, PACKAGE_FOLDER, RESUME_FOLDER, TrainingJob
from contracts.vocabulary import DetectorKind, PartUse, TrainingState, Variant
from models.clock import SystemClock
from models.settings import Settings
from models.training.job import run_job
from tests.central.training_backends.cluster import RayCluster
from tests.central.training_backends.conftest import ON_RAY
from tests.central.training_backends.rigs import OVER, Rig, look_until, ray_rig, until_over, wait_for
from tests.central.training_backends.test_real_trainer import TRAINER
from tests.models.conftest import make_job, write_parts

pytestmark = ON_RAY
# Two workers that meet at every step take minutes beside other work.
_LONG_S = 600


@dataclass(frozen=True)
class Begun:
    """A training of two workers on the cluster."""

    rig: Rig
    backend: TrainingBackend
    attempt: Attempt

    @property
    def output(self) -> Path:
        return self.rig.output(self.attempt)

    @property
    def has_begun_a_head(self) -> bool:
        return any((self.output / RESUME_FOLDER).glob("head-*.npz"))

    def package(self) -> dict[str, bytes]:
        look = look_until(self.backend, self.attempt, lambda look: look.standing in OVER, wait_s=_LONG_S)
        assert look.has_result, self.words()
        self.backend.collect(self.attempt)
        return graphs(self.attempt.output)

    def words(self) -> str:
        log = self.attempt.folder / "trainer.log"
        return log.read_text()[-6000:] if log.exists() else "no log"


@pytest.fixture(name="job", scope="module")
def _job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A classifier: its head is learnt by gradient, and costs most of a training of few pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    images = [
        image
        for use, good, defective in ((PartUse.TRAIN, 14, 12), (PartUse.HOLDOUT, 4, 4))
        for image in [
            *write_parts(folder, rng, good, is_defective=False, use=use),
            *write_parts(folder, rng, defective, is_defective=True, use=use),
        ]
    ]
    return make_job(
        folder, images, detector=DetectorKind.CLASSIFIER, workers=2, threads=2, size_px=64, variants=[Variant.FP32],
        is_resumable=True,
    )  # fmt: skip


@pytest.fixture(name="local", scope="module")
def _local(tmp_path_factory: pytest.TempPathFactory, job: TrainingJob) -> dict[str, bytes]:
    """What two processes of this machine learn."""
    out = tmp_path_factory.mktemp("local")
    run_job(job.model_copy(update={"output_dir": str(out)}), Settings(is_offline=True), SystemClock())
    return graphs(out)


@pytest.fixture(name="rig", params=[{}])
def _rig(request: pytest.FixtureRequest, tmp_path: Path, ray_cluster: RayCluster) -> Iterator[Rig]:
    yield from ray_rig(tmp_path, ray_cluster.address, **request.param)
    wait_for(lambda: not workers_of(ray_cluster), "workers are left behind")
    wait_for(lambda: not processes_of(ray_cluster, "run-job"), "a driver is left behind")


def begin(rig: Rig, job: TrainingJob) -> Begun:
    # The cluster of all tests knows jobs of other ids.
    training_id = f"t-{rig.folder.name}".lower().replace("_", "-")[:60]
    folder = rig.folder / "trainings" / training_id
    folder.mkdir(parents=True)
    attempt = Attempt(training_id, 1, folder)
    changes = {"training_id": training_id, "output_dir": str(attempt.output)}
    write_whole(attempt.job_path, codec.encode(job.model_copy(update=changes)))
    backend = rig.make(TRAINER)
    return Begun(rig, backend, replace(attempt, handle=backend.start(attempt)))


def graphs(out: Path) -> dict[str, bytes]:
    files = (out / PACKAGE_FOLDER).iterdir()
    return {path.name: path.read_bytes() for path in files if path.suffix in (".onnx", ".npz")}


def processes_of(cluster: RayCluster, word: str) -> list[psutil.Process]:
    found = []
    for process in cluster.processes():
        try:
            if word in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def workers_of(cluster: RayCluster) -> list[psutil.Process]:
    return processes_of(cluster, "RayTrainWorker")


def peers_of(processes: list[psutil.Process]) -> set[str]:
    """Where those that they speak with are."""
    return {
        each.raddr.ip.removeprefix("::ffff:")
        for process in processes
        for each in process.net_connections(kind="inet")
        if each.raddr
    }


@pytest.mark.parametrize("rig", [{"gpus": 0.5}], ids=["half-a-gpu-each"], indirect=True)
def test_two_workers_of_the_cluster_learn_what_two_local_ones_do_and_leave_nothing(
    rig: Rig, job: TrainingJob, local: dict[str, bytes], ray_cluster: RayCluster
) -> None:
    begun = begin(rig, job)
    wait_for(lambda: begun.has_begun_a_head, "no head was begun", wait_s=_LONG_S)
    assert len(workers_of(ray_cluster)) == 2
    assert peers_of(workers_of(ray_cluster)) == {"127.0.0.1"}
    assert begun.package() == local, begun.words()
    look = begun.backend.look(begun.attempt)
    assert look.progress is not None
    assert look.progress.usage is not None
    assert look.progress.state is TrainingState.FINISHED
    assert look.progress.usage.workers == 2
    assert look.progress.usage.peers_wait_s > 0
    assert not (begun.output / CLUSTER_FOLDER).exists()
    assert not (begun.attempt.output / CLUSTER_FOLDER).exists()


@pytest.mark.parametrize("is_leader", [False, True], ids=["follower", "leader"])
def test_a_worker_killed_in_mid_training_costs_no_bit_of_the_result(
    rig: Rig, job: TrainingJob, local: dict[str, bytes], ray_cluster: RayCluster, *, is_leader: bool
) -> None:
    begun = begin(rig, job)
    wait_for(lambda: begun.has_begun_a_head, "no head was begun", wait_s=_LONG_S)
    leader = rig.pid(begun.attempt)
    (victim,) = [each for each in workers_of(ray_cluster) if (each.pid == leader) is is_leader]
    os.kill(victim.pid, signal.SIGKILL)
    assert begun.package() == local, begun.words()
    assert "resume: head-" in (begun.attempt.output / "evaluation.json").read_text()


@pytest.mark.parametrize(
    ("rig", "lack"),
    [({"resource": "slot"}, "2 slot at once; free now: "), ({"gpus": 1.0}, "2 GPU at once; free now: ")],
    ids=["slots", "gpus"], indirect=["rig"],
)  # fmt: skip
def test_two_that_need_more_than_there_is_wait_together_say_so_and_can_be_cancelled(
    rig: Rig, lack: str, job: TrainingJob, ray_cluster: RayCluster
) -> None:
    begun = begin(rig, job)
    look = look_until(begun.backend, begun.attempt, lambda look: lack in look.words)
    assert (look.standing, look.has_result) == (Standing.WAITING, False)
    assert look.words.startswith("2 workers need 1 CPU, "), look
    assert "1 slot of 1 slot" in look.words or "1 GPU of 1 GPU" in look.words
    assert workers_of(ray_cluster) == []
    begun.backend.cancel(begun.attempt, is_patient=True)
    last = until_over(begun.backend, begun.attempt)
    assert (last.standing, last.has_result) == (Standing.ENDED, False)
    assert last.progress is not None
    assert last.progress.state is TrainingState.CANCELLED
    # Nor did the first of them get the slot alone.
    assert not (begun.output / RESUME_FOLDER).exists()


def test_two_that_train_are_cancelled_and_leave_no_half_package(rig: Rig, job: TrainingJob) -> None:
    begun = begin(rig, job)
    wait_for(lambda: begun.has_begun_a_head, "no head was begun", wait_s=_LONG_S)
    begun.backend.cancel(begun.attempt, is_patient=True)
    last = until_over(begun.backend, begun.attempt)
    assert (last.standing, last.has_result) == (Standing.ENDED, False)
    assert last.progress is not None
    assert last.progress.state is TrainingState.CANCELLED, begun.words()
    # What it had done stays for the next attempt.
    assert begun.has_begun_a_head
    assert not (begun.output / PACKAGE_FOLDER).exists()


def test_what_no_worker_can_do_is_told_once_and_not_tried_again(rig: Rig, job: TrainingJob) -> None:
    begun = begin(rig, job.model_copy(update={"backbone": "resnet18", "weights_path": "/nowhere/resnet18.pth"}))
    last = until_over(begun.backend, begun.attempt)
    assert (last.standing, last.has_result) == (Standing.ENDED, False)
    assert "/nowhere/resnet18.pth" in last.words
    assert begun.words().count("Started training worker group") == 1
