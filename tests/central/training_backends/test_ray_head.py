# SPDX-License-Identifier: Apache-2.0
"""A head that dies and comes back with its tables: the training ran on elsewhere and is found again, not begun anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from central.settings import LearningSettings
from central.store.database import Database
from contracts.vocabulary import DetectorKind, TrainingState
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT, Bench
from tests.central.training_backends.cluster import RayOfTwoMachines, find_ray
from tests.central.training_backends.conftest import ON_RAY
from tests.central.training_backends.rigs import Rig, is_there, ray_rig

pytestmark = ON_RAY


@pytest.fixture(name="machines")
def _machines() -> Iterator[RayOfTwoMachines]:
    if find_ray() is None:
        pytest.skip("Ray is not installed (extra cluster)")
    machines = RayOfTwoMachines()
    try:
        machines.start()
        yield machines
    finally:
        machines.close()


@pytest.fixture(name="rig")
def _rig(tmp_path: Path, machines: RayOfTwoMachines) -> Iterator[Rig]:
    yield from ray_rig(tmp_path, machines.address)


def test_a_training_is_found_again_when_the_head_comes_back(
    rig: Rig, machines: RayOfTwoMachines, sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock
) -> None:
    bench = Bench(sqlite_database, publisher, clock, rig.folder)
    bench.add_references(good=20, defective=6)
    settings = LearningSettings(min_good_labels=10, most_losses=1, backend="ray")
    bench.build(learning=settings, backends={"ray": rig.stub("slow")})
    bench.learning.requests.request(PRODUCT, DetectorKind.AUTO, "asked for by the test", clock.now())
    bench.tick_until(lambda: bench.trainings()[0].stage == "fitting", wait_s=240)
    attempt = rig.latest(bench)
    pid = rig.pid(attempt)
    machines.kill_head()
    bench.tick_until(lambda: "does not answer" in bench.trainings()[0].stage, wait_s=60)
    assert is_there(pid)
    machines.start_head()
    bench.tick_until(lambda: bench.trainings()[0].stage == "fitting", wait_s=240)
    assert (rig.pid(attempt), is_there(pid)) == (pid, True)
    (rig.where(attempt) / "go").touch()
    bench.tick_until(lambda: bench.training_states() == [TrainingState.FINISHED], wait_s=240)
    (training,) = bench.trainings()
    assert (training.starts, training.losses) == (1, 0)
    bench.tick(2)
    assert len(bench.promotions()) == 1
