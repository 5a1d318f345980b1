# SPDX-License-Identifier: Apache-2.0
"""The backends under test, each as a rig."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.central.training_backends.cluster import RayCluster, find_ray
from tests.central.training_backends.rigs import Rig, local_rig, ray_rig

# To start a cluster again may take minutes on a busy machine.
ON_RAY = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(900)]


@pytest.fixture(name="ray_cluster", scope="session")
def _ray_cluster() -> Iterator[RayCluster]:
    """One for all tests of a worker: to start it takes as long as ten of them."""
    if find_ray() is None:
        pytest.skip("Ray is not installed (extra cluster)")
    cluster = RayCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(name="rig", params=["local", pytest.param("ray", marks=ON_RAY)])
def _rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "local":
        yield from local_rig(tmp_path)
    else:
        cluster: RayCluster = request.getfixturevalue("ray_cluster")
        yield from ray_rig(tmp_path, cluster.address)
