# SPDX-License-Identifier: Apache-2.0
"""What each opinion of the memory bank is there for, on made-up features, and that none can veto another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.vocabulary import PartUse
from models.clock import SystemClock
from models.detectors.base import Fitted, Floats, TrainingSet
from models.detectors.cells import PlaceScale, direction, pooled
from models.detectors.evidence import Scale
from models.detectors.memory_bank import MemoryBank
from models.detectors.nearest_cells import MemoryBankSettings, NearestCells
from models.detectors.white_distance import WhiteCells, WholePart
from models.detectors.whitening import FoldMoments
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import make_job, write_parts

STAGES = (4, 8)


def _features(count: int, seed: int) -> NDArray[np.float16]:
    """Positive features, as behind a ReLU, [count, 12, 8, 8]."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, (count, 12, 8, 8)).astype(np.float16)


def _fitted(seed: int = 1) -> MemoryBank:
    bank = MemoryBank(MemoryBankSettings(cells=400))
    training = TrainingSet(_features(80, seed), np.zeros(80, np.bool_), [f"{row}" for row in range(80)], stages=STAGES)
    bank.fit(training, seed=0, check=lambda _share: None)
    return bank


def test_direction_forgets_how_strong_a_stage_is() -> None:
    cells = pooled(_features(3, 1))
    brighter = cells.copy()
    brighter[:, :4] *= np.float16(3)
    np.testing.assert_allclose(direction(cells, STAGES), direction(brighter, STAGES), atol=2e-3)
    length = np.sqrt((direction(cells, STAGES)[:, 4:].astype(np.float32) ** 2).sum(1))
    np.testing.assert_allclose(length, 1, atol=5e-3)


def test_cells_without_any_response_have_no_direction() -> None:
    cells = np.zeros((1, 12, 4, 4), np.float16)
    assert (direction(cells, STAGES) == 0).all()


def test_light_that_scales_a_cell_is_no_defect_but_another_mixture_is() -> None:
    bank, sound = _fitted(), _features(20, 5)
    lit, mixed = sound.copy(), sound.copy()
    lit[:, :, 2:4, 2:4] *= np.float16(1.6)
    mixed[:, ::2, 2:4, 2:4] *= np.float16(2)
    plain, of_light, of_mixture = (bank.score(each)[1][:, 2, 2] for each in (sound, lit, mixed))
    assert np.median(plain) < 1
    assert np.median(of_light) < np.median(plain) + 1
    assert (of_mixture > plain.max()).mean() > 0.9


def test_what_is_weak_everywhere_is_seen_by_the_whole_part() -> None:
    bank, sound = _fitted(), _features(40, 6)
    changed = sound + np.float16(0.3) * (np.arange(12) == 3)[None, :, None, None].astype(np.float16)
    before, after = (bank.score(each)[0] for each in (sound, changed))
    assert (after > np.quantile(before, 0.95)).mean() > 0.9


def _of_cells(features: NDArray[np.float16], folds: NDArray[np.int64]) -> tuple[WhiteCells, Floats]:
    return WhiteCells.fit(features, STAGES, folds)


@pytest.mark.parametrize("fit", [_of_cells, WholePart.fit])
def test_white_distances_of_a_part_come_from_one_that_had_not_seen_its_fold(
    fit: Callable[[NDArray[np.float16], NDArray[np.int64]], tuple[WhiteCells | WholePart, Floats]],
) -> None:
    features = _features(20, 3)
    folds = np.arange(20) % 4
    _, distances = fit(features, folds)
    # Learnt without that fold from the start, the measure must say the same of it.
    odd = features.copy()
    odd[folds == 2, :3] += np.float16(5)
    without, _ = fit(odd, np.where(folds == 2, -1, folds))
    alone = without.distances(features[folds == 2])
    np.testing.assert_allclose(distances[folds == 2], alone, rtol=1e-3)


def test_white_distance_sees_a_change_of_one_grid_cell() -> None:
    features = _features(80, 3)
    measure, _ = WhiteCells.fit(features, STAGES, np.arange(80) % 4)
    odd = features[:1].copy()
    odd[0, ::2, 5, 2] *= np.float16(3)
    raised = measure.distances(odd)[0] - measure.distances(features[:1])[0]
    assert np.unravel_index(raised.argmax(), raised.shape) == (5, 2)
    assert raised[5, 2] > 10 * np.delete(raised.ravel(), 5 * 8 + 2).max()


def test_white_distance_learns_directions_and_no_light() -> None:
    features, folds = _features(80, 3), np.arange(80) % 4
    gains = np.random.default_rng(4).uniform(0.5, 2, (80, 1, 8, 8)).astype(np.float16)
    asked = _features(5, 6)
    plain, lit = (WhiteCells.fit(each, STAGES, folds)[0].distances(asked) for each in (features, features * gains))
    np.testing.assert_allclose(lit, plain, rtol=0.02)


def test_moments_of_folds_give_the_whitening_of_the_rows_that_are_left() -> None:
    rng = np.random.default_rng(0)
    # Far from 0 and unlike from fold to fold, where sums of squares would cancel.
    rows = (rng.normal(0, 1, (30, 5, 4, 3)) * np.arange(1, 6)[:, None, None] + 50).astype(np.float32)
    folds = np.arange(30) % 3
    rows[folds == 1] += 2
    moments = FoldMoments.of(lambda: ((folds[at : at + 7], rows[at : at + 7]) for at in range(0, 30, 7)), 3)
    for fold in (None, 0, 1, 2):
        left = rows if fold is None else rows[folds != fold]
        count = len(left)
        place = left.mean(0, dtype=np.float64)
        mean = count / (count + 20) * place + 20 / (count + 20) * place.mean((1, 2), keepdims=True)
        off = (left - mean).transpose(1, 0, 2, 3).reshape(5, -1)
        covariance = off @ off.T / off.shape[1]
        got = moments.without(fold)
        np.testing.assert_allclose(got.place_mean, mean, rtol=1e-5)
        # matrix · (covariance + ridge) · matrixᵀ is the identity.
        ridged = covariance + 0.1 * np.trace(covariance) / 5 * np.eye(5)
        np.testing.assert_allclose(got.matrix @ ridged @ got.matrix.T, np.eye(5), atol=1e-3)


def test_rows_not_learnt_from_leave_the_bank_alone() -> None:
    cells = direction(pooled(_features(24, 3)), STAGES)
    folds = np.where(np.arange(24) < 16, np.arange(24) % 4, -1)
    odd = cells.copy()
    odd[folds < 0] *= np.float16(-1)
    few = MemoryBankSettings(cells=64)
    fitted = [
        NearestCells.fit(each, folds, np.random.default_rng(0), few, lambda _share: None) for each in (cells, odd)
    ]
    np.testing.assert_array_equal(fitted[0][0].bank, fitted[1][0].bank)


def test_no_opinion_can_veto_another() -> None:
    scale = Scale.fit(np.linspace(0, 10, 101).astype(np.float32), end=0.95)
    told = scale.evidence(np.array([-1000.0, 0.0, 9.5, 20.0], np.float32))
    assert (told >= 0).all()
    assert (np.diff(told) >= 0).all()
    assert told[0] == pytest.approx(0, abs=1e-6)
    assert told[2] == pytest.approx(np.log(2))


def test_places_that_always_stand_out_are_measured_by_their_own() -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(1, 0.1, (400, 6, 6)).astype(np.float32)
    sound[:, :, :3] += 5
    placed = PlaceScale.fit(sound).apply(sound)
    assert abs(float(placed[:, :, 0].mean())) < 1.5
    assert float(PlaceScale.fit(sound[:, :, 3:]).apply(sound[:, :, :3]).min()) > 5


def test_too_early_a_question_says_so() -> None:
    with pytest.raises(RuntimeError, match="before it was fitted"):
        MemoryBank().score(_features(1, 0))


def test_training_tells_the_detector_the_stages_of_the_trunk(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, tuple[int, ...]]] = []
    honest = MemoryBank.fit

    def fit(self: MemoryBank, training: TrainingSet, **more: Any) -> Fitted:
        told.append((training.features.shape[1], training.stages))
        return honest(self, training, **more)

    monkeypatch.setattr(MemoryBank, "fit", fit)
    rng = np.random.default_rng(0)
    run_job(
        make_job(tmp_path, write_parts(tmp_path, rng, 12, is_defective=False, use=PartUse.TRAIN)),
        settings,
        SystemClock(),
    )
    # Two stages of the shipped trunk: one length over both would let the wider one decide alone.
    assert set(told) == {(128, (32, 96))}
