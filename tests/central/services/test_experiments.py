# SPDX-License-Identifier: Apache-2.0
"""What is kept of a training: its job, machine and course, whatever becomes of its files; and what is let go."""

import hashlib
import shutil
from datetime import timedelta

import pytest
from sqlmodel import select

from central.learning_settings import ExperimentSettings
from central.services.trainings.experiments import ExperimentRetention, find_experiments, keep_told
from central.store.experiment_tables import Experiment
from contracts.jobs import TrainingProgress
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PromotionOutcome, TrainingState
from tests.central.services.bench import PRODUCT, Bench


def experiment_of(bench: Bench, training_id: str) -> Experiment | None:
    with bench.database.read() as session:
        return session.get(Experiment, training_id)


def train(bench: Bench, state: TrainingState = TrainingState.FINISHED) -> str:
    known = {row.training_id for row in bench.trainings()}
    training_id = bench.learning.requests.request(PRODUCT, DetectorKind.AUTO, "a test", bench.clock.now())
    bench.tick_until(
        lambda: any(row.state is state for row in bench.trainings() if row.training_id not in known), wait_s=120
    )
    return training_id


def test_what_was_given_and_how_it_went_outlives_the_files(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    bench.add_label(Judgement.DEFECTIVE, LabelSource.REFERENCE, "scratched")
    training_id = train(bench)
    job = (bench.trainings_dir / training_id / "job.json").read_bytes()
    shutil.rmtree(bench.trainings_dir)
    with bench.database.read() as session:
        (found,) = find_experiments(session, [training_id])
    assert found.given is not None
    assert found.given.job_sha256 == hashlib.sha256(job).hexdigest()
    assert {"seed", "size_px", "backbone", "limits", "variants"} <= set(found.given.parameters)
    assert not {"images", "output_dir", "champion_dir", "training_id"} & set(found.given.parameters)
    labels = found.given.labels
    assert sum(each["pictures"] for side in labels.values() for each in side.values()) == 27
    assert {name for side in labels.values() for name in side} == {"GOOD", "DEFECTIVE"}
    assert found.given.made_by is not None
    assert found.given.made_by["libraries"] == {"torch": "2.13.0"}
    assert found.given.curves == [{"name": "head loss", "steps": [1, 2], "values": [0.9, 0.4]}]
    assert found.dataset is not None
    assert found.dataset.pictures == 27
    assert [each.number for each in found.attempts] == [1]


def test_what_became_of_it_stands_beside_it(bench: Bench) -> None:
    bench.commission("st-1")
    (training,) = bench.trainings()
    with bench.database.read() as session:
        (found,) = find_experiments(session, [training.training_id])
    assert found.promotion is not None
    assert found.promotion.outcome is PromotionOutcome.PROMOTED
    assert len(found.rollouts) == 1


def test_a_training_that_fails_has_told_its_machine_and_course_too(bench: Bench) -> None:
    bench.build("nonsense")
    bench.add_references(good=20)
    kept = experiment_of(bench, train(bench, TrainingState.FAILED))
    assert kept is not None
    assert kept.made_by is not None
    assert kept.curves


def test_a_later_word_without_them_takes_nothing_away(bench: Bench) -> None:
    bench.add_references(good=20)
    training_id = train(bench)
    before = experiment_of(bench, training_id)
    said = TrainingProgress(
        training_id=training_id, state=TrainingState.RUNNING, stage="fitting", fraction=0.5,
        started_at=bench.clock.now(), at=bench.clock.now(),
    )  # fmt: skip
    with bench.database.begin() as session:
        keep_told(session, training_id, said, bench.clock.now())
        keep_told(session, training_id, None, bench.clock.now())
        # Of one from before there was a history.
        keep_told(session, "t-unknown", said, bench.clock.now())
    after = experiment_of(bench, training_id)
    assert before is not None
    assert after is not None
    assert (after.made_by, after.curves, after.told_at) == (before.made_by, before.curves, before.told_at)


@pytest.mark.parametrize(
    ("settings", "days", "left"),
    [
        (ExperimentSettings(kept_days=0, most_kept=9), 9_000, ["old", "new", "running", "champion"]),
        (ExperimentSettings(kept_days=100), 99, ["old", "new", "running", "champion"]),
        (ExperimentSettings(kept_days=100), 101, ["new", "running", "champion"]),
        (ExperimentSettings(kept_days=100), 9_000, ["running", "champion"]),
        (ExperimentSettings(kept_days=0, most_kept=3), 1, ["new", "running", "champion"]),
        (ExperimentSettings(kept_days=0, most_kept=0), 1, ["running", "champion"]),
    ],
)
def test_the_oldest_go_but_never_what_judges_or_runs(
    bench: Bench, settings: ExperimentSettings, days: float, left: list[str]
) -> None:
    bench.commission("st-1")
    names = {bench.trainings()[0].training_id: "champion"}
    began = bench.clock.now()
    with bench.database.begin() as session:
        (of_champion,) = session.exec(select(Experiment)).all()
        of_champion.laid_out_at = began - timedelta(days=5_000)
        training = bench.trainings()[0]
        ages = {
            "old": (0, TrainingState.FAILED), "new": (5, TrainingState.FINISHED), "running": (-1, TrainingState.RUNNING)
        }  # fmt: skip
        for name, (later, state) in ages.items():
            copied = training.model_dump() | {"training_id": name, "state": state, "package_id": None}
            session.add(type(training)(**copied))
            session.flush()
            at = began + timedelta(days=later)
            session.add(Experiment(**(of_champion.model_dump() | {"training_id": name, "laid_out_at": at})))
    names |= {name: name for name in ages}
    ExperimentRetention(bench.database, settings).tick(began + timedelta(days=days))
    with bench.database.read() as session:
        kept = [names[row.training_id] for row in session.exec(select(Experiment)).all()]
        assert sorted(kept) == sorted(left)
        # The training itself stays.
        assert len(find_experiments(session, list(names))) == 4
