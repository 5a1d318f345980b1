# SPDX-License-Identifier: Apache-2.0
"""What a training tells of its machine and its course: curves that are real losses, thinned, and finite."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.jobs import MOST_CURVES, MOST_POINTS, PROGRESS_NAME, MetricCurve, TrainingProgress
from contracts.vocabulary import TrainingState
from models.clock import SystemClock
from models.detectors.classifier import Classifier
from models.detectors.head import HeadSettings, _thinned, train_head
from models.detectors.mixed import Mixed
from models.training import machine
from models.training.machine import made_by
from models.training.progress import Progress
from tests.models.test_detectors import make_training


def told(folder: Path, curves: dict[str, list[tuple[int, float]]]) -> TrainingProgress:
    progress = Progress(folder, "t-1", SystemClock())
    progress.keep_curves(curves)
    progress.finish(TrainingState.FINISHED)
    return TrainingProgress.model_validate_json((folder / PROGRESS_NAME).read_bytes())


def test_progress_carries_the_machine_and_the_curves_from_its_first_word(tmp_path: Path) -> None:
    said = told(tmp_path, {"loss": [(1, 0.5), (2, 0.25)]})
    assert said.curves == [MetricCurve(name="loss", steps=[1, 2], values=[0.5, 0.25])]
    assert said.made_by == made_by()
    Progress(tmp_path, "t-2", SystemClock()).enter("reading", 0.1)
    first = TrainingProgress.model_validate_json((tmp_path / PROGRESS_NAME).read_bytes())
    assert (first.made_by, first.curves) == (made_by(), [])


def test_a_long_course_is_thinned_to_its_bound_and_keeps_its_end(tmp_path: Path) -> None:
    points = [(step, float(step)) for step in range(1, 1_001)]
    many = {f"loss {number}": points for number in range(MOST_CURVES + 3)}
    said = told(tmp_path, {**many, "odd": [(1, math.nan), (2, math.inf), (3, 1.0)], "empty": []})
    assert len(said.curves) == MOST_CURVES
    assert [curve.name for curve in said.curves][-3:] == ["loss 14", "odd", "empty"]
    longest = said.curves[0]
    assert MOST_POINTS // 2 < len(longest.steps) <= MOST_POINTS
    assert (longest.steps[-1], longest.values[-1]) == (1_000, 1_000.0)
    assert longest.steps == sorted(longest.steps)
    assert (said.curves[-2].steps, said.curves[-2].values) == ([3], [1.0])


def test_a_curve_of_unequal_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a value for each of 2 steps, got 1"):
        MetricCurve(name="loss", steps=[1, 2], values=[0.5])


def test_losses_are_means_of_equal_stretches_at_their_last_steps() -> None:
    assert _thinned([], 0) == ()
    assert _thinned([3.0, 1.0], 0) == ((1, 3.0), (2, 1.0))
    thin = _thinned([float(step) for step in range(300)], 0)
    assert len(thin) == 50
    assert thin[0] == (6, 2.5)
    assert thin[-1] == (300, 296.5)
    # A training that was stopped after 275 steps and went on.
    assert _thinned([3.0, 1.0], 275) == ((276, 3.0), (277, 1.0))


def test_the_losses_of_a_head_fall_where_there_is_something_to_learn() -> None:
    training = make_training(60, 30, shift=5.0)
    rows = np.arange(len(training.groups))
    losses = [value for _, value in train_head(training, rows, HeadSettings(steps=120), seed=0).losses]
    assert len(losses) == 50
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_detectors_that_train_by_steps_tell_each_fold_and_the_last_fit() -> None:
    training = make_training(60, 30, shift=2.0)
    for detector in (Classifier(HeadSettings(steps=20)), Mixed(settings=HeadSettings(steps=20))):
        curves = detector.fit(training, seed=0, check=lambda _share: None).curves
        folds = [name for name in curves if name.startswith("head loss, fold ")]
        if isinstance(detector, Classifier):
            assert "head loss" in curves
            assert len(folds) > 1
        assert all([step for step, _ in points][-1] == 20 for points in curves.values())
        assert all(math.isfinite(value) for points in curves.values() for _, value in points)


def test_the_machine_is_told_as_it_is_and_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = made_by()
    assert said.python == ".".join(map(str, sys.version_info[:3]))
    assert said.libraries["numpy"] == np.__version__
    assert said.memory_bytes is None or said.memory_bytes > 500_000_000
    monkeypatch.setattr(machine, "_LIBRARIES", ("numpy", "no-such-library"))
    monkeypatch.setattr(machine, "_CPU_INFO", Path("/nowhere"))
    assert set(made_by().libraries) == {"numpy"}
