# SPDX-License-Identifier: Apache-2.0
"""The summary finds what is weak everywhere, and leaves the bank's sight of everything else alone."""

import numpy as np
import pytest

from models.detectors.base import TrainingSet
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed, bearable_lift, separation
from models.detectors.nearest_cells import MemoryBankSettings
from models.detectors.summary import train_summary, write_summary
from models.graphs.features import open_session
from models.graphs.writer import FLOAT, GraphWriter


def _parts(count: int, seed: int, *, everywhere: float = 0.0) -> "np.ndarray[tuple[int, ...], np.dtype[np.float16]]":
    """Features [count, 6, 8, 8]; `everywhere` moves one channel of every cell by a fraction of its spread."""
    features = np.random.default_rng(seed).normal(0, 1, (count, 6, 8, 8))
    features[:, 2] += everywhere
    return features.astype(np.float16)


def _training(sound: int, defective: int, *, everywhere: float) -> TrainingSet:
    features = np.concatenate([_parts(sound, 1), _parts(defective, 2, everywhere=everywhere)])
    is_defective = np.arange(sound + defective) >= sound
    return TrainingSet(features, is_defective, [f"part-{index}" for index in range(sound + defective)])


def _mixed() -> Mixed:
    return Mixed(MemoryBank(MemoryBankSettings(cells=200)))


def test_change_that_is_weak_in_every_cell_is_learned_from_two_dozen_labels() -> None:
    training = _training(120, 24, everywhere=0.5)
    mixed, bank = _mixed(), MemoryBank(MemoryBankSettings(cells=200))
    for detector in (mixed, bank):
        detector.fit(training, seed=0, check=lambda _share: None)
    unseen = np.concatenate([_parts(100, 11), _parts(50, 12, everywhere=0.5)])
    is_defective = np.arange(150) >= 100
    learned, alone = (separation(detector.score(unseen)[0], is_defective) for detector in (mixed, bank))
    assert mixed.summary_weight > 0
    assert learned > 0.9
    assert learned > alone + 0.1


def test_sound_parts_gain_next_to_nothing_from_the_summary() -> None:
    training = _training(150, 24, everywhere=0.5)
    mixed, bank = _mixed(), MemoryBank(MemoryBankSettings(cells=200))
    for detector in (mixed, bank):
        detector.fit(training, seed=0, check=lambda _share: None)
    unseen = _parts(200, 21)
    gained = mixed.score(unseen)[0] - bank.score(unseen)[0]
    assert np.median(gained) < 0.5 * bank.score(unseen)[0].std()


def test_graph_says_what_training_says() -> None:
    training = _training(40, 10, everywhere=1.0)
    summary = train_summary(training, np.arange(50))
    writer = GraphWriter()
    said = write_summary(writer, summary, writer.input("features", FLOAT, ["n", 6, 8, 8]))
    writer.output("logit", said, ["n"])
    features = _parts(7, 5)
    session = open_session(writer.model("summary"), 1)
    (by_graph,) = session.run(["logit"], {"features": features.astype(np.float32)})
    assert np.allclose(by_graph, summary.logits(features), atol=1e-4)


@pytest.mark.parametrize("labelled", [12, 24])
def test_what_is_learned_moves_the_end_of_the_sound_scores_no_further_than_is_bearable(labelled: int) -> None:
    training = _training(150, labelled, everywhere=0.5)
    mixed, bank = _mixed(), MemoryBank(MemoryBankSettings(cells=200))
    with_summary, alone = (
        detector.fit(training, seed=0, check=lambda _share: None).cross_fitted_scores[:150]
        for detector in (mixed, bank)
    )
    assert mixed.summary_weight > 0
    middle, end = np.quantile(alone, [0.5, 0.98])
    assert np.quantile(with_summary, 0.98) - end <= bearable_lift(training) * (end - middle) + 1e-6


def test_mark_at_one_place_is_learned_by_the_extremes() -> None:
    rng = np.random.default_rng(3)

    def marked(count: int, seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float16]]":
        features = _parts(count, seed)
        for part in features:
            row, column = 2 * rng.integers(0, 4, 2)
            part[1, row : row + 2, column : column + 2] += 2.5
        return features

    features = np.concatenate([_parts(150, 1), marked(40, 2)])
    training = TrainingSet(features, np.arange(190) >= 150, [f"part-{index}" for index in range(190)])
    summary = train_summary(training, np.arange(190))
    unseen = np.concatenate([_parts(100, 11), marked(50, 12)])
    assert separation(summary.logits(unseen), np.arange(150) >= 100) > 0.9
