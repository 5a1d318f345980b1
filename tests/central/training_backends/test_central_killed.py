# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of a real central at every step of a training: it goes on, nothing is registered twice, nothing is half."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.services.trainings.requests import TrainingRequests
from central.settings import LearningSettings
from contracts.vocabulary import DetectorKind, TrainingState
from tests.central.conftest import START
from tests.central.services.trainers import end_trainings
from tests.central.training_backends.cluster import RayCluster
from tests.central.training_backends.conftest import ON_RAY
from tests.central.training_backends.killing import PRODUCT, KilledCentral
from tests.central.training_backends.rigs import is_there, wait_for

LEARNING = "central.services.trainings.learning|"
SERVICE = LEARNING + "LearningService."
QUEUED, RUNNING, FINISHED = TrainingState.QUEUED, TrainingState.RUNNING, TrainingState.FINISHED

# Where it dies, in the order of a training, and what the row says then. BACKEND stands for the class of either.
STEPS = [
    pytest.param("before:" + SERVICE + "_start", QUEUED, id="waiting"),
    pytest.param("after:" + LEARNING + "choose_pictures", QUEUED, id="choosing"),
    pytest.param("before:" + LEARNING + "lay_out_job", QUEUED, id="chosen"),
    pytest.param("after:central.services.trainings.jobs|place_picture#5", QUEUED, id="half-laid-out"),
    pytest.param("after:" + LEARNING + "lay_out_job", QUEUED, id="laid-out"),
    pytest.param("after:" + LEARNING + "write_whole", QUEUED, id="job-written"),
    pytest.param("after:" + SERVICE + "_lay_out", QUEUED, id="counted"),
    pytest.param("before:BACKEND.start", RUNNING, id="marked-running"),
    pytest.param("after:BACKEND.start", RUNNING, id="started"),
    pytest.param("after:" + SERVICE + "_start", RUNNING, id="handle-kept"),
    pytest.param("after:BACKEND.look#3", RUNNING, id="looked-at"),
    pytest.param("after:" + SERVICE + "_note", RUNNING, id="progress-kept"),
    pytest.param("before:BACKEND.collect", RUNNING, id="finished-not-collected"),
    pytest.param("after:BACKEND.collect", RUNNING, id="collected"),
    pytest.param("before:" + LEARNING + "register_package", RUNNING, id="not-checked"),
    pytest.param("after:central.trust.repository|PackageRepository._copy#2", RUNNING, id="half-copied"),
    pytest.param("after:central.trust.repository|PackageRepository._copied", RUNNING, id="copied-not-signed"),
    pytest.param("after:central.trust.state|write_metadata#1", RUNNING, id="product-signed"),
    pytest.param("after:central.trust.state|write_metadata#3", RUNNING, id="snapshot-signed"),
    pytest.param("after:central.trust.repository|PackageRepository.publish", RUNNING, id="published-not-registered"),
    pytest.param("after:" + LEARNING + "register_package", RUNNING, id="checked-not-registered"),
    pytest.param("after:" + SERVICE + "_finish", FINISHED, id="registered"),
    pytest.param("before:central.services.gates.promoting|PromotingService._decide", FINISHED, id="not-judged"),
    pytest.param("after:central.services.gates.promoting|PromotingService._decide", FINISHED, id="judged"),
]
ONLY_ON_RAY = [
    pytest.param("after:central.training_backends.staging|_place#5", RUNNING, id="half-staged"),
    pytest.param("after:central.training_backends.staging|Staging.lay_out", RUNNING, id="staged"),
    pytest.param("before:central.training_backends.ray_api|RayJobs.submit", RUNNING, id="not-submitted"),
    pytest.param("after:central.training_backends.ray_api|RayJobs.submit", RUNNING, id="submitted"),
    pytest.param("after:central.training_backends.staging|shutil.copytree", RUNNING, id="half-brought-back"),
    pytest.param("before:BACKEND.forget", FINISHED, id="not-swept"),
]
CLASSES = {
    "local": "central.training_backends.local|LocalBackend",
    "ray": "central.training_backends.ray|RayBackend",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(name="commissioned", scope="session")
def _commissioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder to copy: making keys takes longer than most of what follows."""
    data = tmp_path_factory.mktemp("commissioned") / "central"
    subprocess.run([sys.executable, "-m", "central", "init", "--data", str(data)], check=True, capture_output=True)
    return data


# Points that both backends pass are shown on Ray by `make stories`: twice thirty plants beside a cluster take a
# quarter of an hour, which CI spends on the points that Ray alone has.
@pytest.fixture(name="place", params=["local", pytest.param("ray", marks=[*ON_RAY, pytest.mark.story])])
def _place(request: pytest.FixtureRequest) -> str:
    word: str = request.param
    return word


@pytest.fixture(name="mode")
def _mode() -> str:
    return "slow"


@pytest.fixture(name="central")
def _central(
    request: pytest.FixtureRequest, place: str, mode: str, commissioned: Path, tmp_path: Path
) -> Iterator[KilledCentral]:
    data = tmp_path / "central"
    shutil.copytree(commissioned, data)
    (tmp_path / "shared").mkdir()
    cluster: RayCluster | None = request.getfixturevalue("ray_cluster") if place == "ray" else None
    central = KilledCentral(data, mode, cluster.address if cluster else None)
    central.add_references(good=20, defective=6)
    settings = LearningSettings(min_good_labels=10)
    TrainingRequests(central.database, settings).request(PRODUCT, DetectorKind.AUTO, "asked for by the test", START)
    yield central
    central.stop()
    central.database.close()
    end_trainings(data / "trainings")


def let_it_finish(central: KilledCentral) -> None:
    folder = central.trainer_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go").touch()


def die_and_finish(central: KilledCentral, place: str, point: str, state: TrainingState) -> None:
    if "look" not in point and "_note" not in point:
        let_it_finish(central)
    central.start(point.replace("BACKEND", CLASSES[place]))
    assert central.wait_for_death() == -signal.SIGKILL, central.log()[-3000:]
    assert central.training().state is state
    central.check_registry()
    let_it_finish(central)
    central.start()
    central.until_state(FINISHED, TrainingState.FAILED)
    central.until(lambda: central.promotions() or central.training().error, "the gate was not asked")
    check_finished_once(central)


def check_finished_once(central: KilledCentral) -> None:
    training = central.training()
    assert (training.state, training.error, training.losses) == (FINISHED, None, 0)
    assert [package.package_id for package in central.packages()] == [training.package_id]
    assert central.signed() == {training.package_id}
    assert [promotion.package_id for promotion in central.promotions()] == [training.package_id]
    central.check_registry()
    # Not only registered once: trained once.
    (pid,) = central.pids()
    wait_for(lambda: not is_there(pid), "the trainer is left behind")
    assert not [path for path in central.data.rglob("*") if path.name.endswith(".part")]


@pytest.mark.parametrize(("point", "state"), STEPS)
def test_killed_at_this_step_it_finishes_and_registers_once(
    central: KilledCentral, place: str, point: str, state: TrainingState
) -> None:
    die_and_finish(central, place, point, state)


@pytest.mark.parametrize("place", [pytest.param("ray", marks=ON_RAY)])
@pytest.mark.parametrize(("point", "state"), ONLY_ON_RAY)
def test_killed_between_here_and_the_cluster_it_finishes_and_registers_once(
    central: KilledCentral, place: str, point: str, state: TrainingState
) -> None:
    die_and_finish(central, place, point, state)


@pytest.mark.parametrize(
    ("point", "state"),
    [("before:BACKEND.cancel", RUNNING), ("after:BACKEND.cancel", RUNNING), ("before:" + SERVICE + "_end", RUNNING)],
    ids=["not-asked-to-end", "asked-to-end", "ended-not-written"],
)
def test_killed_while_it_cancels_it_cancels(
    central: KilledCentral, place: str, point: str, state: TrainingState
) -> None:
    central.start(point.replace("BACKEND", CLASSES[place]))
    central.until(lambda: central.training().stage == "fitting", "the trainer never said a word")
    training_id = central.training().training_id
    TrainingRequests(central.database, LearningSettings()).cancel(training_id, START)
    assert central.wait_for_death() == -signal.SIGKILL, central.log()[-3000:]
    assert central.training().state is state
    central.start()
    central.until_state(TrainingState.CANCELLED, FINISHED, TrainingState.FAILED)
    assert central.training().state is TrainingState.CANCELLED
    assert (central.packages(), central.signed()) == ([], set())
    (pid,) = central.pids()
    wait_for(lambda: not is_there(pid), "the trainer is left behind")


@pytest.mark.parametrize("mode", ["dies-once"])
@pytest.mark.parametrize(
    ("point", "losses"),
    [("before:" + SERVICE + "_settle", 0), ("after:" + SERVICE + "_settle", 1), ("before:BACKEND.forget", 1)],
    ids=["lost", "lost-and-queued", "not-let-go"],
)
def test_killed_over_a_lost_attempt_it_begins_one_more_and_registers_once(
    central: KilledCentral, place: str, point: str, losses: int
) -> None:
    central.start(point.replace("BACKEND", CLASSES[place]))
    assert central.wait_for_death() == -signal.SIGKILL, central.log()[-3000:]
    assert central.training().losses == losses
    central.start()
    central.until_state(FINISHED, TrainingState.FAILED)
    training = central.training()
    assert (training.state, training.losses, training.starts) == (FINISHED, 1, 2)
    assert len(central.pids()) == 2
    assert [package.package_id for package in central.packages()] == [training.package_id]
    central.check_registry()


def test_killed_again_and_again_before_anything_starts_it_gives_up_and_says_so(
    central: KilledCentral, place: str
) -> None:
    # Three starts, and two more that count as losses.
    for number in range(1, 6):
        central.start("before:BACKEND.start".replace("BACKEND", CLASSES[place]))
        assert central.wait_for_death() == -signal.SIGKILL, central.log()[-3000:]
        assert (central.training().starts, central.training().state) == (number, RUNNING)
    central.start()
    central.until_state(TrainingState.FAILED, FINISHED)
    assert (central.training().error or "").startswith("lost 3 times (learning.most_losses)")
    assert (central.packages(), central.pids()) == ([], [])
