# SPDX-License-Identifier: Apache-2.0
"""One battery for every detector, on made-up features; and what the mixed one promises beyond."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.vocabulary import DetectorKind
from models.detectors import mixed
from models.detectors.base import Detector, TrainingSet
from models.detectors.classifier import Classifier
from models.detectors.head import HeadSettings, HeadWeights, train_alone
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed, _choose, bearable_lift, separation, why_no_head
from models.detectors.nearest_cells import MemoryBankSettings, greedy_centres
from models.errors import InputError
from models.graphs.features import open_session
from models.graphs.writer import FLOAT, GraphWriter

CHANNELS, GRID = 12, 8


def make_features(rng: np.random.Generator, count: int, *, shift: float) -> NDArray[np.float16]:
    """Grid features; defective ones differ by `shift` along one direction in one small blob."""
    features = rng.normal(0, 1, (count, CHANNELS, GRID, GRID))
    for row in range(count):
        y, x = rng.integers(1, GRID - 2, 2)
        features[row, :3, y : y + 2, x : x + 2] += shift
    return features.astype(np.float16)


def make_training(sound: int, defective: int, shift: float, seed: int = 0) -> TrainingSet:
    rng = np.random.default_rng(seed)
    features = np.concatenate([make_features(rng, sound, shift=0), make_features(rng, defective, shift=shift)])
    return TrainingSet(
        features=features,
        is_defective=np.arange(sound + defective) >= sound,
        groups=[f"part-{row}" for row in range(sound + defective)],
    )


def make_detector(kind: DetectorKind) -> Detector:
    bank = MemoryBank(MemoryBankSettings(cells=60))
    if kind is DetectorKind.CLASSIFIER:
        return Classifier(HeadSettings(steps=60))
    return bank if kind is DetectorKind.MEMORY_BANK else Mixed(bank, HeadSettings(steps=60))


KINDS = [DetectorKind.MEMORY_BANK, DetectorKind.MIXED, DetectorKind.CLASSIFIER]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_rise_with_suspicion_on_unseen_parts(kind: DetectorKind) -> None:
    detector = make_detector(kind)
    fitted = detector.fit(make_training(40, 12, shift=6.0), seed=1, check=lambda _share: None)
    rng = np.random.default_rng(9)
    sound, _ = detector.score(make_features(rng, 30, shift=0))
    defective, maps = detector.score(make_features(rng, 30, shift=6.0))
    assert detector.kind is kind
    assert fitted.cross_fitted_scores.shape == (52,)
    assert maps.shape == (30, *detector.map_shape)
    scores = np.concatenate([sound, defective])
    assert separation(scores, np.arange(60) >= 30) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_graph_gives_the_scores_of_the_detector(kind: DetectorKind) -> None:
    detector = make_detector(kind)
    detector.fit(make_training(40, 12, shift=6.0), seed=1, check=lambda _share: None)
    writer = GraphWriter()
    features = writer.input("features", FLOAT, ["n", CHANNELS, GRID, GRID])
    score, heatmap = detector.write(writer, features)
    writer.output("score", score, ["n"])
    writer.output("heatmap", heatmap, ["n", "h", "w"])
    batch = make_features(np.random.default_rng(5), 7, shift=3.0)
    told = open_session(writer.model("t"), 1).run(None, {"features": batch.astype(np.float32)})
    scores, maps = detector.score(batch)
    np.testing.assert_allclose(told[0], scores, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(told[1], maps, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_detector(kind: DetectorKind) -> None:
    batch = make_features(np.random.default_rng(5), 4, shift=3.0)
    told = []
    for _ in range(2):
        detector = make_detector(kind)
        detector.fit(make_training(30, 10, shift=5.0), seed=4, check=lambda _share: None)
        told.append(detector.score(batch)[0])
    np.testing.assert_array_equal(told[0], told[1])


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_sound_parts_are_refused_with_the_number_missing(kind: DetectorKind) -> None:
    with pytest.raises(InputError, match="expected at least 10, got 3; add 7 more"):
        make_detector(kind).fit(make_training(3, 10, shift=5.0), seed=0, check=lambda _share: None)


def test_sound_part_is_never_scored_by_a_bank_that_holds_it() -> None:
    training = make_training(40, 0, shift=0)
    bank = MemoryBank(MemoryBankSettings(cells=4000))
    fitted = bank.fit(training, seed=0, check=lambda _share: None)
    own, _ = bank.score(training.features)
    # With every cell remembered the finished bank finds each training part itself; the cross-fitted score does not.
    assert (fitted.cross_fitted_scores > own).all()


def test_parts_of_one_group_share_a_fold_in_the_bank() -> None:
    training = make_training(30, 0, shift=0)
    twins = np.concatenate([training.features, training.features])
    paired = TrainingSet(twins, np.zeros(60, np.bool_), training.groups * 2)
    bank = MemoryBank(MemoryBankSettings(cells=4000))
    fitted = bank.fit(paired, seed=0, check=lambda _share: None)
    own, _ = bank.score(twins)
    # A copy in another fold would give about the score of a part that the detector holds.
    assert (fitted.cross_fitted_scores > 2 * own).all()


@pytest.mark.parametrize("kind", KINDS)
def test_sound_pictures_of_one_part_alone_are_split_and_that_is_said_once(kind: DetectorKind) -> None:
    training = make_training(20, 12, shift=6.0)
    groups = [name if bad else "one" for name, bad in zip(training.groups, training.is_defective, strict=True)]
    training = replace(training, groups=groups)
    fitted = make_detector(kind).fit(training, seed=1, check=lambda _share: None)
    assert np.isfinite(fitted.cross_fitted_scores).all()
    assert sum("all sound parts share one group" in note for note in fitted.notes) == 1


def test_head_learns_from_image_labels_what_the_bank_cannot_see() -> None:
    subtle = 1.6
    training = make_training(150, 40, shift=subtle)
    learner, bank = make_detector(DetectorKind.MIXED), make_detector(DetectorKind.MEMORY_BANK)
    for detector in (learner, bank):
        detector.fit(training, seed=2, check=lambda _share: None)
    rng = np.random.default_rng(77)
    unseen = np.concatenate([make_features(rng, 100, shift=0), make_features(rng, 60, shift=subtle)])
    is_defective = np.arange(160) >= 100
    learned, alone = (separation(detector.score(unseen)[0], is_defective) for detector in (learner, bank))
    assert learned > alone + 0.1


def test_head_counts_nothing_when_labels_teach_nothing() -> None:
    learner = Mixed(MemoryBank(MemoryBankSettings(cells=60)), HeadSettings(steps=40))
    # Defective parts far outside: the bank already separates all of them.
    fitted = learner.fit(make_training(40, 10, shift=30.0), seed=0, check=lambda _share: None)
    assert learner.head_weight == 0
    assert any("head counts 0" in note for note in fitted.notes)


def with_masks(training: TrainingSet) -> TrainingSet:
    """Its first labelled defect with a mask."""
    row = int(np.flatnonzero(training.is_defective)[0])
    return replace(training, masks={row: np.ones((GRID, GRID), np.float32)})


def test_head_that_no_gain_could_let_count_is_not_trained_and_nothing_of_the_detector_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Far outside: all of them are separated without the head.
    training, trained = with_masks(make_training(40, 10, shift=30.0)), []

    def counted(*arguments: Any) -> HeadWeights:
        trained.append(arguments)
        return train_alone(*arguments)

    unseen = make_features(np.random.default_rng(5), 12, shift=3.0)

    def fitted() -> tuple[list[str], list[NDArray[np.float32]]]:
        detector = Mixed(MemoryBank(MemoryBankSettings(cells=60)), HeadSettings(steps=40), trainer=counted)
        found = detector.fit(training, seed=0, check=lambda _share: None)
        return found.notes, [found.cross_fitted_scores, *detector.score(unseen)]

    notes, skipped = fitted()
    assert trained == []
    assert notes[-1] == (
        "head counts 0 (quality on unseen groups without it 1.000; not trained: it must gain 0.005, and no more than "
        "0.000 is left)"
    )
    monkeypatch.setattr(mixed, "why_no_head", lambda *_arguments, **_named: None)
    notes, trained_in_vain = fitted()
    assert len(trained) == 3
    assert "head counts 0 (quality on unseen groups without it 1.000, with it" in notes[-1]
    for one, other in zip(skipped, trained_in_vain, strict=True):
        # Scores, and the map too: a head that counts nothing was never in it.
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("quality", "defective", "has_masks", "is_trained"),
    [
        (0.996, 50, True, False),
        (0.99, 50, True, True),
        (0.99, 50, False, False),
        (0.85, 50, False, True),
        (0.85, 10, False, False),
        (0.85, 10, True, True),
    ],
)
def test_head_is_trained_where_there_is_something_to_find_and_to_find_it_by(
    quality: float, defective: int, has_masks: bool, is_trained: bool
) -> None:
    assert (why_no_head(quality, defective, has_masks=has_masks) is None) is is_trained


def test_mixed_refuses_defects_of_one_part_since_nothing_unseen_is_left_to_check_on() -> None:
    training = make_training(20, 10, shift=1.0)
    of_one = replace(training, groups=[*training.groups[:20], *["bad"] * 10])
    with pytest.raises(InputError, match="at least 2 parts, got 10 of one"):
        make_detector(DetectorKind.MIXED).fit(of_one, seed=0, check=lambda _share: None)


@pytest.mark.parametrize(("parts", "share"), [(4, 0.2), (15, 0.5), (30, 1.0), (300, 1.0)])
def test_opinions_of_labels_may_lift_sound_scores_the_more_the_more_parts_taught_them(parts: int, share: float) -> None:
    training = make_training(20, parts * 2, shift=1.0)
    two_pictures_each = [*training.groups[:20], *(f"bad-{row // 2}" for row in range(parts * 2))]
    assert bearable_lift(replace(training, groups=two_pictures_each)) == pytest.approx(share)


def test_weight_is_chosen_within_the_bearable_lift_only() -> None:
    rng = np.random.default_rng(3)
    is_defective = np.arange(300) >= 200
    base = rng.normal(0, 1, 300).astype(np.float32)
    # A good opinion with a few loud sound parts: what it may count depends on how far those may rise.
    logits = (rng.normal(0, 1, 300) + 3 * is_defective + 6 * (np.arange(300) < 8)).astype(np.float32)
    sound = base[~is_defective]
    end = np.quantile(sound, 0.98)
    for share in (0.2, 1.0):
        scale, weight, _ = _choose(base, logits, is_defective, share)
        total = base + np.float32(weight) * scale.evidence(logits)
        assert np.quantile(total[~is_defective], 0.98) - end <= share * (end - np.median(sound)) + 1e-6
    assert _choose(base, logits, is_defective, 0.2)[1] < _choose(base, logits, is_defective, 5.0)[1]


def test_greedy_centres_cover_what_random_ones_miss() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (500, 4)).astype(np.float32)
    rows[123] += 50
    assert (greedy_centres(rows, 10) == rows[123]).all(1).any()
