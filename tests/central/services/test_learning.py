# SPDX-License-Identifier: Apache-2.0
import json
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from sqlmodel import Session

from central.errors import ConflictError, NotFoundError
from central.services.alarms.rows import Signal, close, find_alarm, raise_alarm
from central.settings import LearningSettings, RolloutSettings
from central.store.learning_tables import Package
from central.training_backends.local import LocalBackend
from central.training_backends.seam import Attempt, Standing
from contracts.tiles import Tiles
from contracts.vocabulary import (
    AlarmKind,
    AlarmState,
    DetectorKind,
    Judgement,
    LabelSource,
    PartUse,
    PromotionOutcome,
    TrainingState,
    Verdict,
)
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.trainers import trainer


def ask(bench: Bench, product: str = PRODUCT) -> str:
    return bench.learning.requests.request(product, DetectorKind.AUTO, "asked for by the test", bench.clock.now())


def until(bench: Bench, *states: TrainingState) -> None:
    bench.tick_until(lambda: bench.training_states() == list(states))


def until_fitting(bench: Bench) -> None:
    """The process has said its first word."""
    bench.tick_until(lambda: bench.trainings()[-1].stage == "fitting")


def is_alive(bench: Bench, training_id: str) -> bool:
    attempt = Attempt(training_id, 1, bench.trainings_dir / training_id)
    return LocalBackend(()).look(attempt).standing is Standing.RUNNING


def test_a_job_holds_the_labels_with_their_side_and_no_unsure_ones(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    bench.add_label(Judgement.DEFECTIVE, LabelSource.AUDIT, "audited")
    bench.add_label(Judgement.UNSURE, LabelSource.AUDIT, "unsure")
    bench.add_label(Judgement.GOOD, LabelSource.REFERENCE, "other product", product="board")
    training_id = ask(bench)
    until(bench, TrainingState.FINISHED)
    images = bench.job(training_id)["images"]
    assert isinstance(images, list)
    assert len(images) == 27
    assert {image["use"] for image in images if image["judgement"] == "GOOD"} == {"TRAIN", "HOLDOUT"}
    (training,) = bench.trainings()
    assert (training.good, training.defective, training.audit_labels) == (20, 7, 1)
    assert training.package_id is not None
    assert bench.repository.has(training.package_id)


def test_real_and_simulated_pictures_never_train_together(bench: Bench) -> None:
    bench.add_references(good=20)
    for index in range(12):
        bench.add_label(Judgement.GOOD, LabelSource.REFERENCE, f"real-{index}", is_simulated=False)
    training_id = ask(bench)
    until(bench, TrainingState.FINISHED)
    job = bench.job(training_id)
    assert job["is_simulated"] is False
    assert isinstance(job["images"], list)
    assert {image["group"] for image in job["images"]} == {f"real-{index}" for index in range(12)}


def test_held_out_parts_stay_held_out_in_the_next_training(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    first = ask(bench)
    until(bench, TrainingState.FINISHED)
    bench.tick()
    for index in range(20):
        bench.add_label(Judgement.DEFECTIVE, LabelSource.AUDIT, f"new-{index}")
    bench.later(seconds=2)
    bench.rollouts.abort(bench.rollout().id or 0, "test", bench.clock.now())
    second = ask(bench)
    until(bench, TrainingState.FINISHED, TrainingState.FINISHED)
    sides = []
    for training_id in (first, second):
        images = bench.job(training_id)["images"]
        assert isinstance(images, list)
        sides.append({image["group"]: PartUse(image["use"]) for image in images})
    assert sides[0].items() <= sides[1].items()


def test_a_retraining_sees_a_part_as_its_champion_does(bench: Bench) -> None:
    bench.commission("s1")
    (first,) = bench.trainings()
    assert bench.job(first.training_id)["tiles"] == {"rows": 1, "columns": 1}
    with bench.database.begin() as session:
        champion = session.get_one(Package, bench.champion())
        manifest = json.loads(champion.manifest)
        seen = {"tiles": {"rows": 2, "columns": 5}, "model_height_px": 2 * 192, "model_width_px": 5 * 192}
        champion.manifest = json.dumps(manifest | {"graph": manifest["graph"] | seen})
        session.add(champion)
    training_id = ask(bench)
    bench.tick_until(lambda: all(state is TrainingState.FINISHED for state in bench.training_states()))
    job = bench.job(training_id)
    assert (job["tiles"], job["size_px"]) == ({"rows": 2, "columns": 5}, 192)


def test_a_first_training_sees_a_part_as_the_settings_say(bench: Bench) -> None:
    tiled = replace(bench.learning_settings, tiles=Tiles(rows=2, columns=3), size_px=128)
    bench.build(learning=tiled)
    bench.add_references(good=20)
    training_id = ask(bench)
    until(bench, TrainingState.FINISHED)
    job = bench.job(training_id)
    assert (job["tiles"], job["size_px"]) == ({"rows": 2, "columns": 3}, 128)


def test_a_local_training_has_as_many_workers_as_the_settings_say(bench: Bench) -> None:
    bench.build(learning=replace(bench.learning_settings, workers=3, threads=4))
    bench.add_references(good=20)
    training_id = ask(bench)
    until(bench, TrainingState.FINISHED)
    job = bench.job(training_id)
    assert (job["workers"], job["threads"]) == (3, 4)


def test_too_few_good_pictures_are_refused_with_how_many_are_missing(bench: Bench) -> None:
    bench.add_references(good=7)
    with pytest.raises(ConflictError, match="3 good and 0 defective ones are missing"):
        ask(bench)


def test_a_second_training_of_the_product_is_refused_while_one_is_under_way(bench: Bench) -> None:
    bench.build("hang")
    bench.add_references(good=20)
    ask(bench)
    with pytest.raises(ConflictError, match="is under way"):
        ask(bench)


def test_a_crash_of_the_trainer_fails_the_training_with_its_words_and_is_not_repeated(bench: Bench) -> None:
    bench.build("crash")
    bench.add_references(good=20)
    ask(bench)
    until(bench, TrainingState.FAILED)
    assert "made-up fault" in (bench.trainings()[0].error or "")
    bench.tick(5)
    assert len(bench.trainings()) == 1


def test_a_command_that_does_not_exist_fails_the_training_and_says_so(bench: Bench) -> None:
    bench.build(learning=LearningSettings(min_good_labels=10, command=("no-such-trainer",)))
    bench.add_references(good=20)
    ask(bench)
    until(bench, TrainingState.FAILED)
    assert "no-such-trainer" in (bench.trainings()[0].error or "")


def test_a_training_goes_on_through_a_restart_of_central(bench: Bench) -> None:
    bench.build("slow")
    bench.add_references(good=20)
    training_id = ask(bench)
    until_fitting(bench)
    children = bench.children
    bench.build("crash")  # a process started now would fail
    bench.tick(3)
    assert bench.training_states() == [TrainingState.RUNNING]
    (bench.trainings_dir / training_id / "go").touch()
    until(bench, TrainingState.FINISHED)
    for child in children:
        assert child.wait() == 0


def test_a_training_that_central_was_killed_before_starting_is_started_again(bench: Bench) -> None:
    bench.add_references(good=20)
    training_id = ask(bench)
    with bench.database.begin() as session:
        row = session.get_one(type(bench.trainings()[0]), training_id)
        row.state, row.started_at, row.starts = TrainingState.RUNNING, bench.clock.now(), 1
        session.add(row)
    until(bench, TrainingState.FINISHED)
    assert bench.trainings()[0].starts == 2


def test_a_finished_training_that_central_did_not_see_finish_is_registered_once(bench: Bench) -> None:
    bench.add_references(good=20)
    training_id = ask(bench)
    until(bench, TrainingState.FINISHED)
    with bench.database.begin() as session:
        row = session.get_one(type(bench.trainings()[0]), training_id)
        row.state = TrainingState.RUNNING
        session.add(row)
    bench.build()
    bench.tick(2)
    assert bench.training_states() == [TrainingState.FINISHED]
    assert len(bench.promotions()) == 1


@pytest.mark.parametrize("mode", ["hang", "stubborn"])
def test_a_cancelled_training_ends_even_when_it_does_not_listen(bench: Bench, mode: str) -> None:
    bench.build(mode)
    bench.add_references(good=20)
    training_id = ask(bench)
    until_fitting(bench)
    bench.learning.requests.cancel(training_id, bench.clock.now())
    bench.tick()
    if mode == "stubborn":
        bench.later(seconds=20)
    until(bench, TrainingState.CANCELLED)
    assert not is_alive(bench, training_id)
    with pytest.raises(ConflictError, match="it is CANCELLED"):
        bench.learning.requests.cancel(training_id, bench.clock.now())


def test_a_waiting_training_can_be_cancelled(bench: Bench) -> None:
    bench.add_references(good=20)
    bench.learning.requests.cancel(ask(bench), bench.clock.now())
    bench.tick()
    assert bench.training_states() == [TrainingState.CANCELLED]
    with pytest.raises(NotFoundError):
        bench.learning.requests.cancel("t-nothing", bench.clock.now())


def test_a_training_that_takes_too_long_is_ended_and_fails(bench: Bench) -> None:
    bench.build("hang")
    bench.add_references(good=20)
    ask(bench)
    until_fitting(bench)
    bench.later(seconds=4000)
    until(bench, TrainingState.FAILED)
    assert "took longer than 3600 s" in (bench.trainings()[0].error or "")


def test_only_one_training_runs_at_a_time(bench: Bench) -> None:
    bench.build("slow")
    bench.add_references(good=20)
    bench.add_references(good=20, product="board")
    first, second = ask(bench), ask(bench, "board")
    until_fitting_first = [TrainingState.RUNNING, TrainingState.QUEUED]
    bench.tick_until(lambda: sorted(bench.training_states()) == sorted(until_fitting_first))
    for training_id in (first, second):
        folder = bench.trainings_dir / training_id
        folder.mkdir(exist_ok=True)
        (folder / "go").touch()
    until(bench, TrainingState.FINISHED, TrainingState.FINISHED)


def test_a_package_that_is_not_what_was_asked_for_fails_the_training(bench: Bench) -> None:
    bench.build("slow")
    bench.add_references(good=20)
    training_id = ask(bench)
    until_fitting(bench)
    path = bench.trainings_dir / training_id / "job.json"
    (path.parent / "go").touch()
    children = bench.children
    for child in children:
        child.wait()
    evaluation = path.parent / "output" / "evaluation.json"
    content = json.loads(evaluation.read_text())
    evaluation.write_text(json.dumps({**content, "package_id": "f" * 64}))
    until(bench, TrainingState.FAILED)
    assert "package id: expected" in (bench.trainings()[0].error or "")
    assert bench.promotions() == []


def test_a_refused_candidate_is_not_trained_again_on_the_same_evidence(bench: Bench) -> None:
    stations = bench.commission("st-1")
    champion = bench.champion()
    bench.build("worse")
    escapes = bench.report(stations[0], [Verdict.OK] * 8)
    bench.audit(escapes, Judgement.DEFECTIVE)
    until(bench, TrainingState.FINISHED, TrainingState.FINISHED)
    bench.tick(3)
    assert bench.promotions()[-1].outcome is PromotionOutcome.REFUSED
    assert bench.champion() == champion
    assert len(bench.trainings()) == 2
    (alarm,) = bench.alarms()
    assert "did not mend it" in alarm.evidence["learning"]
    more = bench.report(stations[0], [Verdict.OK] * 8)
    bench.audit(more, Judgement.DEFECTIVE)
    bench.tick(1)
    assert len(bench.trainings()) == 3


def test_nothing_is_trained_while_a_promoted_package_waits_for_its_rollout(bench: Bench) -> None:
    stations = bench.commission("st-1")
    bench.build(rollout=RolloutSettings(is_automatic=False))
    bench.audit(bench.report(stations[0], [Verdict.OK] * 8), Judgement.DEFECTIVE)
    until(bench, TrainingState.FINISHED, TrainingState.FINISHED)
    bench.tick(3)
    assert bench.promotions()[-1].outcome is PromotionOutcome.PROMOTED
    bench.audit(bench.report(stations[0], [Verdict.OK] * 8), Judgement.DEFECTIVE)
    bench.tick(3)
    assert len(bench.trainings()) == 2
    assert "awaits its rollout" in bench.alarms()[0].evidence["learning"]


def test_an_open_alarm_takes_no_write_lock_while_nothing_changes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add_references(good=5)
    with bench.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "made up", "none", is_simulated=True, product=PRODUCT)
        raise_alarm(session, signal, bench.clock.now())
    bench.learning.requests.answer_alarms(bench.clock.now())
    before = bench.alarms()[0].evidence["learning"]
    assert "5 good and 6 defective ones are missing; no training yet" in before

    def no_lock() -> None:
        raise AssertionError("the write lock was taken")

    with monkeypatch.context() as patched:
        patched.setattr(bench.database, "begin", no_lock)
        bench.learning.requests.answer_alarms(bench.clock.now())
    bench.add_label(Judgement.GOOD, LabelSource.REFERENCE, "one more")
    bench.learning.requests.answer_alarms(bench.clock.now())
    assert "4 good and" in bench.alarms()[0].evidence["learning"]


def test_an_alarm_that_a_person_closes_meanwhile_calls_for_no_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add_references(good=5)
    with bench.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "made up", "none", is_simulated=True, product=PRODUCT)
        raise_alarm(session, signal, bench.clock.now())
    begin = bench.database.begin

    def close_first() -> AbstractContextManager[Session]:
        monkeypatch.undo()
        with begin() as session:
            close(find_alarm(session, 1), "anna", bench.clock.now())
        return begin()

    monkeypatch.setattr(bench.database, "begin", close_first)
    bench.learning.requests.answer_alarms(bench.clock.now())
    (alarm,) = bench.alarms()
    assert alarm.state is AlarmState.CLOSED
    assert "learning" not in alarm.evidence


def test_automatic_learning_can_be_off(bench: Bench) -> None:
    stations = bench.commission("st-1")
    bench.build(
        learning=LearningSettings(
            is_automatic=False, min_defective_labels=6, min_good_labels=10, command=trainer("finish")
        )
    )
    bench.audit(bench.report(stations[0], [Verdict.OK] * 8), Judgement.DEFECTIVE)
    bench.tick(3)
    assert len(bench.trainings()) == 1
    assert "automatic learning is off" in bench.alarms()[0].evidence["learning"]
