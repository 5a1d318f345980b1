# SPDX-License-Identifier: Apache-2.0
"""A cluster that asks for its token: with it trainings run; with none or another one they wait, and it is said why."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from central.learning_settings import RaySettings
from central.settings import LearningSettings
from central.store.database import Database
from central.training_backends.ray import RayBackend
from central.training_backends.seam import BackendAwayError
from contracts.vocabulary import DetectorKind, TrainingState
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.trainers import trainer
from tests.central.training_backends.cluster import RayCluster, find_ray
from tests.central.training_backends.conftest import ON_RAY
from tests.central.training_backends.rigs import Rig, ray_rig, until_over

pytestmark = ON_RAY
TOKEN = "a-token-of-this-cluster-alone-0123456789"


@pytest.fixture(name="cluster", scope="module")
def _cluster() -> Iterator[RayCluster]:
    if find_ray() is None:
        pytest.skip("Ray is not installed (extra cluster)")
    cluster = RayCluster(token=TOKEN)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(name="rig")
def _rig(tmp_path: Path, cluster: RayCluster) -> Iterator[Rig]:
    yield from ray_rig(tmp_path, cluster.address, token=TOKEN)


def test_the_cluster_really_asks(cluster: RayCluster) -> None:
    assert httpx.get(f"{cluster.address}/api/jobs/", trust_env=False).status_code == 401


def test_with_the_token_a_training_runs(rig: Rig) -> None:
    backend, attempt = rig.stub("finish"), rig.attempt()
    attempt = replace(attempt, handle=backend.start(attempt))
    assert until_over(backend, attempt).has_result
    assert "learning from" in (attempt.folder / "trainer.log").read_text()


@pytest.mark.parametrize(
    ("token", "came"),
    [("not-that-one-but-another-0123456789", "ray.token is another one (403"), ("", "ray.token is not set (401")],
    ids=["wrong", "none"],
)
def test_without_the_token_it_is_said_what_is_expected(
    rig: Rig, cluster: RayCluster, tmp_path: Path, token: str, came: str
) -> None:
    settings = RaySettings(address=cluster.address, folder=str(tmp_path / "shared"), token=token, answer_timeout_s=60.0)
    backend, attempt = RayBackend(settings), rig.attempt()
    for step in (backend.start, backend.look, lambda one: backend.cancel(one, is_patient=False)):
        with pytest.raises(BackendAwayError) as told:
            step(attempt)
        words = str(told.value)
        assert words.startswith(f"Ray at {cluster.address} lets nobody in without its token: expected the one in")
        assert came in words
        assert "set ray.token or SIGHTLINE_CENTRAL_RAY_TOKEN" in words
        assert TOKEN not in words
        assert not token or token not in words
    assert not list((tmp_path / "shared").glob("*/runs"))


def test_a_training_waits_for_the_right_token_and_then_runs(
    rig: Rig, cluster: RayCluster, sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock
) -> None:
    bench = Bench(sqlite_database, publisher, clock, rig.folder)
    bench.add_references(good=20, defective=6)
    asked = RaySettings(
        address=cluster.address,
        folder=str(rig.folder / "shared"),
        command=trainer("finish"),
        cpus=0.5,
        answer_timeout_s=60.0,
    )
    settings = LearningSettings(min_good_labels=10, backend="ray")
    bench.build(learning=settings, backends={"ray": RayBackend(replace(asked, token="wrong-0123456789"))})
    bench.learning.requests.request(PRODUCT, DetectorKind.AUTO, "asked for by the test", clock.now())
    bench.tick(3)
    (training,) = bench.trainings()
    assert (training.state, training.starts) == (TrainingState.QUEUED, 0)
    assert "lets nobody in without its token" in training.stage
    bench.build(learning=settings, backends={"ray": RayBackend(replace(asked, token=TOKEN))})
    bench.tick_until(lambda: bench.training_states() == [TrainingState.FINISHED], wait_s=240)
