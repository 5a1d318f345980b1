# SPDX-License-Identifier: Apache-2.0
"""The learning service on each backend: what becomes of a training whose attempts are lost, late, cancelled, found."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from central.settings import LearningSettings
from central.store.database import Database
from contracts.jobs import PACKAGE_FOLDER
from contracts.vocabulary import DetectorKind, TrainingState
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT, Bench
from tests.central.training_backends.rigs import Rig, is_there, wait_for

SETTINGS = LearningSettings(min_good_labels=10, most_losses=1)


@pytest.fixture(name="make")
def _make(
    rig: Rig, sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock
) -> Callable[[str], Bench]:
    """A bench whose trainings run on the rig; a second call is a restart of central."""
    bench = Bench(sqlite_database, publisher, clock, rig.folder)
    bench.add_references(good=20, defective=6)

    def make(mode: str) -> Bench:
        backend = rig.stub(mode)
        bench.build(learning=replace(SETTINGS, backend=backend.name), backends={backend.name: backend})
        return bench

    return make


def ask(bench: Bench) -> None:
    bench.learning.requests.request(PRODUCT, DetectorKind.AUTO, "asked for by the test", bench.clock.now())


def until(bench: Bench, state: TrainingState) -> None:
    bench.tick_until(lambda: bench.training_states() == [state], wait_s=240)


def until_fitting(bench: Bench) -> None:
    bench.tick_until(lambda: bench.trainings()[0].stage == "fitting", wait_s=240)


def test_a_lost_training_is_begun_again_and_registered_once(make: Callable[[str], Bench], rig: Rig) -> None:
    bench = make("dies-once")
    ask(bench)
    until(bench, TrainingState.FINISHED)
    (training,) = bench.trainings()
    assert (training.starts, training.losses) == (2, 1)
    assert rig.runs(rig.latest(bench)) == 2
    bench.tick(3)
    assert [row.package_id for row in bench.promotions()] == [training.package_id]


def test_a_training_that_is_lost_too_often_fails_and_says_how_often(make: Callable[[str], Bench], rig: Rig) -> None:
    bench = make("dies")
    ask(bench)
    until(bench, TrainingState.FAILED)
    (training,) = bench.trainings()
    assert (training.starts, training.losses) == (2, 1)
    assert (training.error or "").startswith("lost 2 times (learning.most_losses), the last time: ")
    assert rig.runs(rig.latest(bench)) == 2
    bench.tick(3)
    assert rig.runs(rig.latest(bench)) == 2


def test_a_training_goes_on_through_a_restart_of_central(make: Callable[[str], Bench], rig: Rig) -> None:
    bench = make("slow")
    ask(bench)
    until_fitting(bench)
    bench = make("crash")  # whatever was started now would fail
    bench.tick(3)
    assert bench.training_states() == [TrainingState.RUNNING]
    (rig.where(rig.latest(bench)) / "go").touch()
    until(bench, TrainingState.FINISHED)
    assert rig.runs(rig.latest(bench)) == 1


def test_a_training_that_takes_too_long_is_ended_and_not_begun_again(make: Callable[[str], Bench], rig: Rig) -> None:
    bench = make("stubborn")
    ask(bench)
    until_fitting(bench)
    pid = rig.pid(rig.latest(bench))
    bench.later(seconds=4000)
    bench.tick()
    bench.later(seconds=20)
    until(bench, TrainingState.FAILED)
    assert bench.trainings()[0].error == "took longer than 3600 s"
    wait_for(lambda: not is_there(pid), "the process is left behind")
    assert rig.runs(rig.latest(bench)) == 1


def test_a_cancelled_training_leaves_neither_process_nor_package(make: Callable[[str], Bench], rig: Rig) -> None:
    bench = make("hang")
    ask(bench)
    until_fitting(bench)
    attempt = rig.latest(bench)
    pid = rig.pid(attempt)
    bench.learning.requests.cancel(attempt.training_id, bench.clock.now())
    until(bench, TrainingState.CANCELLED)
    wait_for(lambda: not is_there(pid), "the process is left behind")
    assert not (attempt.output / PACKAGE_FOLDER).exists()
    assert bench.trainings()[0].package_id is None


def test_a_training_whose_backend_is_set_up_no_more_fails_and_names_it(make: Callable[[str], Bench], rig: Rig) -> None:
    bench = make("slow")
    ask(bench)
    until_fitting(bench)
    (name,) = bench.learning.backends
    going = bench.learning.backends[name]
    bench.build(learning=SETTINGS, backends={})
    bench.tick()
    assert f"runs on {name}, which the settings name no more" in (bench.trainings()[0].error or "")
    going.cancel(rig.latest(bench), is_patient=False)
