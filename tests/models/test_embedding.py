# SPDX-License-Identifier: Apache-2.0
"""A part as sixteen numbers: the same in the graph, in their units, and not blind to kinds that score low."""

import numpy as np
import pytest

from contracts.reports import MAX_EMBEDDING
from contracts.vocabulary import DetectorKind
from models.detectors.base import Detector
from models.detectors.embedding import LENGTH, Embedding
from models.graphs.features import open_session
from models.graphs.writer import FLOAT, GraphWriter
from tests.models.test_detectors import CHANNELS, GRID, KINDS, make_detector, make_features, make_training


def _fitted(kind: DetectorKind = DetectorKind.MEMORY_BANK) -> tuple[Detector, Embedding]:
    detector = make_detector(kind)
    training = make_training(60, 12, shift=6.0)
    detector.fit(training, seed=1, check=lambda _share: None)
    return detector, Embedding.fit(training.features[~training.is_defective], detector)


def test_embedding_is_short_enough_for_reports() -> None:
    assert LENGTH <= MAX_EMBEDDING


@pytest.mark.parametrize("kind", KINDS)
def test_graph_gives_the_embedding_of_the_detector(kind: DetectorKind) -> None:
    detector, embedding = _fitted(kind)
    writer = GraphWriter()
    features = writer.input("features", FLOAT, ["n", CHANNELS, GRID, GRID])
    _, heatmap = detector.write(writer, features)
    writer.output("embedding", embedding.write(writer, features, heatmap, detector.map_shape), ["n", LENGTH])
    batch = make_features(np.random.default_rng(5), 7, shift=3.0)
    session = open_session(writer.model("t"), 1)
    [told] = session.run(None, {"features": batch.astype(np.float32)})
    assert told.shape == (7, LENGTH)
    np.testing.assert_allclose(told, embedding.of(batch, detector), atol=2e-3)
    [alone] = session.run(None, {"features": batch[3:4].astype(np.float32)})
    np.testing.assert_allclose(alone[0], told[3], atol=1e-5)


def test_sound_parts_lie_around_zero_in_units_of_their_spread() -> None:
    detector, embedding = _fitted()
    found = embedding.of(make_features(np.random.default_rng(7), 400, shift=0), detector)
    assert np.abs(found.mean(0)).max() < 0.5
    assert 0.6 < found.std(0).min() < found.std(0).max() < 1.6


def test_kind_that_is_small_and_scores_low_still_moves_the_embedding() -> None:
    detector, embedding = _fitted()
    rng = np.random.default_rng(3)
    sound, odd = make_features(rng, 600, shift=0), make_features(rng, 200, shift=1.5)
    scores, limit = detector.score(odd)[0], np.quantile(detector.score(sound)[0], 0.99)
    low = odd[scores < limit]
    assert len(low) > 150
    usual, unusual = embedding.of(sound, detector), embedding.of(low, detector)
    whitened = np.linalg.inv(np.linalg.cholesky(np.cov(usual.T)))
    moved = whitened @ (unusual.mean(0) - usual.mean(0))
    assert np.linalg.norm(moved) > 0.8


def test_same_parts_give_the_same_embedding_and_constant_channels_stay_finite() -> None:
    detector, embedding = _fitted()
    again = _fitted()[1]
    assert np.array_equal(embedding.matrix, again.matrix)
    still = make_training(60, 12, shift=6.0)
    still.features[:, -2:] = 1.0
    detector.fit(still, seed=1, check=lambda _share: None)
    constant = Embedding.fit(still.features[:60], detector)
    found = constant.of(still.features, detector)
    assert np.isfinite(found).all()
    assert np.abs(found[:60]).max() < 8
