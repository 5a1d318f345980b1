# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of a real central at every step of giving way: both trainings end, each once, and the books are closed.

A training that the schedule asked for runs; a person asks for another; there is one place.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.services.trainings.requests import TrainingRequests
from central.settings import LearningSettings
from central.store.learning_tables import Training
from contracts.vocabulary import AttemptEnd, DetectorKind, TrainingState, TrainingTrigger
from tests.central.conftest import START
from tests.central.services.trainers import end_trainings
from tests.central.training_backends.cluster import RayCluster
from tests.central.training_backends.conftest import ON_RAY
from tests.central.training_backends.killing import KilledCentral
from tests.central.training_backends.rigs import is_there, wait_for

SERVICE = "central.services.trainings.learning|LearningService."
QUEUE = "central.services.trainings.queue|TrainingQueue."
SCHEDULED, PERSONS = "ring", "cap"
FINISHED = TrainingState.FINISHED
CLASSES = {
    "local": "central.training_backends.local|LocalBackend",
    "ray": "central.training_backends.ray|RayBackend",
}
# Where it dies, in the order of things. `_start`: first the schedule's, then the person's, then the schedule's again.
STEPS = {
    "not-marked": f"before:{QUEUE}_write",
    "marked": f"after:{QUEUE}_write",
    "not-asked-to-end": "before:BACKEND.cancel",
    "asked-to-end": "after:BACKEND.cancel",
    "ended-not-settled": f"before:{SERVICE}_settle",
    "used-not-queued": f"before:{SERVICE}_back_to_queue",
    "queued": f"after:{SERVICE}_back_to_queue",
    "not-let-go": "before:BACKEND.forget",
    "place-not-given": f"before:{SERVICE}_start#2",
    "place-given": f"after:{SERVICE}_start#2",
    "not-begun-again": f"before:{SERVICE}_start#3",
    "found-laid-out": "after:central.services.trainings.learning|is_laid_out",
    "begun-again": "after:BACKEND.start#3",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(name="commissioned", scope="module")
def _commissioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("commissioned") / "central"
    subprocess.run([sys.executable, "-m", "central", "init", "--data", str(data)], check=True, capture_output=True)
    return data


@pytest.fixture(name="place", params=["local", pytest.param("ray", marks=[*ON_RAY, pytest.mark.story])])
def _place(request: pytest.FixtureRequest) -> str:
    word: str = request.param
    return word


@pytest.fixture(name="central")
def _central(request: pytest.FixtureRequest, place: str, commissioned: Path, tmp_path: Path) -> Iterator[KilledCentral]:
    data = tmp_path / "central"
    shutil.copytree(commissioned, data)
    (tmp_path / "shared").mkdir()
    cluster: RayCluster | None = request.getfixturevalue("ray_cluster") if place == "ray" else None
    central = KilledCentral(data, "slow", cluster.address if cluster else None)
    for product in (SCHEDULED, PERSONS):
        central.add_references(20, 6, product)
    ask(central, SCHEDULED)
    with central.database.begin() as session:
        row = session.get_one(Training, central.training_of(SCHEDULED).training_id)
        row.trigger = TrainingTrigger.SCHEDULE
        session.add(row)
    yield central
    central.stop()
    central.database.close()
    end_trainings(data / "trainings")


def ask(central: KilledCentral, product: str) -> None:
    requests = TrainingRequests(central.database, LearningSettings(min_good_labels=10))
    requests.request(product, DetectorKind.AUTO, "asked for by the test", START)


def let_it_finish(central: KilledCentral, product: str) -> None:
    folder = central.trainer_folder(central.training_of(product).training_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go").touch()


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_one_gives_way_both_end_once(central: KilledCentral, place: str, step: str) -> None:
    central.start(STEPS[step].replace("BACKEND", CLASSES[place]))
    central.until(lambda: central.training_of(SCHEDULED).stage == "fitting", "the first never said a word")
    ask(central, PERSONS)
    let_it_finish(central, PERSONS)
    assert central.wait_for_death() == -signal.SIGKILL, central.log()[-3000:]
    central.start()
    central.until(lambda: central.training_of(PERSONS).state is FINISHED, "the person's never came to its end")
    assert central.training_of(SCHEDULED).state is not FINISHED
    let_it_finish(central, SCHEDULED)
    central.until(
        lambda: central.training_of(SCHEDULED).state in (FINISHED, TrainingState.FAILED), "what gave way never went on"
    )
    central.until(lambda: len(central.promotions()) == 2, "the gate was not asked")
    check_both_ended_once(central)


def check_both_ended_once(central: KilledCentral) -> None:
    first, second = central.training_of(SCHEDULED), central.training_of(PERSONS)
    assert (first.state, first.preemptions, first.losses, first.starts) == (FINISHED, 1, 0, 2)
    assert (second.state, second.preemptions, second.losses, second.starts) == (FINISHED, 0, 0, 1)
    assert [attempt.end for attempt in central.attempts_of(SCHEDULED)] == [AttemptEnd.PREEMPTED, AttemptEnd.FINISHED]
    assert [attempt.end for attempt in central.attempts_of(PERSONS)] == [AttemptEnd.FINISHED]
    assert all(attempt.ended_at for product in (SCHEDULED, PERSONS) for attempt in central.attempts_of(product))
    assert {package.package_id for package in central.packages()} == {first.package_id, second.package_id}
    assert central.signed(SCHEDULED) == {first.package_id}
    assert central.signed(PERSONS) == {second.package_id}
    pids = [*central.pids(first.training_id), *central.pids(second.training_id)]
    assert len(pids) == 3
    for pid in pids:
        wait_for(lambda pid=pid: not is_there(pid), "a trainer is left behind")  # type: ignore[misc]
