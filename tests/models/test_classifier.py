# SPDX-License-Identifier: Apache-2.0
"""What the classifier promises beyond the battery of detectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.jobs import TrainingImage
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PartUse
from models.data.parts import Part
from models.data.splits import folds_of_both
from models.detectors.base import Floats, TrainingSet
from models.detectors.classifier import MIN_DEFECTIVE_PARTS, Classifier, choose_share
from models.detectors.head import HeadSettings
from models.errors import InputError
from models.training.job import choose_kind
from tests.models.test_detectors import make_features, make_training


def fit(training: TrainingSet, steps: int = 40) -> tuple[Classifier, Floats]:
    classifier = Classifier(HeadSettings(steps=steps))
    fitted = classifier.fit(training, seed=0, check=lambda _share: None)
    return classifier, fitted.cross_fitted_scores


def test_sound_parts_that_taught_nothing_score_0_with_a_spread_of_1() -> None:
    training = make_training(60, 20, shift=4.0)
    _, scores = fit(training)
    sound = scores[~training.is_defective]
    assert float(sound.mean()) == pytest.approx(0, abs=1e-4)
    assert float(sound.std()) == pytest.approx(1, abs=1e-4)
    assert float(np.median(scores[training.is_defective])) > 3


def test_heatmap_shows_the_place_of_the_defect_on_the_scale_of_the_score() -> None:
    classifier, _ = fit(make_training(60, 30, shift=5.0), steps=120)
    sound = make_features(np.random.default_rng(8), 20, shift=0)
    marked = sound.copy()
    marked[:, :3, 2:4, 5:7] += 5
    _, maps = classifier.score(marked)
    rows, columns = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:])
    assert np.mean((abs(rows - 2.5) <= 1.5) & (abs(columns - 5.5) <= 1.5)) >= 0.9
    # A typical sound part's highest cells lie where sound parts score, a defect's far above.
    assert np.median(classifier.score(sound)[1].max((1, 2))) < 4 < np.median(maps.max((1, 2)))


@pytest.mark.parametrize(("parts", "pictures"), [(MIN_DEFECTIVE_PARTS - 1, 1), (2, 20)])
def test_too_few_labelled_parts_are_refused_with_the_number_missing(parts: int, pictures: int) -> None:
    training = make_training(30, parts * pictures, shift=4.0)
    groups = training.groups[:30] + [f"bad-{row % parts}" for row in range(parts * pictures)]
    missing = MIN_DEFECTIVE_PARTS - parts
    with pytest.raises(InputError, match=rf"got {parts} \({parts * pictures} pictures\); label {missing} more, or use"):
        fit(replace(training, groups=groups))


def test_a_part_is_never_scored_by_what_it_taught_itself() -> None:
    # Nothing but noise, judged by lot: only twins of the same part could tell.
    training = make_training(30, 30, shift=0)
    twins = TrainingSet(np.concatenate([training.features] * 2), np.tile(training.is_defective, 2), training.groups * 2)
    _, scores = fit(twins)
    _, apart = fit(replace(twins, groups=[f"part-{row}" for row in range(120)]))
    means = [float(each[twins.is_defective].mean() - each[~twins.is_defective].mean()) for each in (scores, apart)]
    assert means[0] < 0.7
    assert means[1] > 1.5


def test_sound_pictures_of_one_part_are_split_and_it_is_said() -> None:
    training = make_training(30, 12, shift=4.0)
    groups = ["one"] * 30 + training.groups[30:]
    fitted = Classifier(HeadSettings(steps=20)).fit(replace(training, groups=groups), seed=0, check=lambda _share: None)
    assert np.isfinite(fitted.cross_fitted_scores).all()
    assert any("share one group" in note for note in fitted.notes)


def test_every_fold_has_sound_and_defective_parts_and_no_group_stands_in_two() -> None:
    groups = [f"g{row // 2}" for row in range(60)]
    is_defective = np.arange(60) >= 43
    folds, notes = folds_of_both(groups, is_defective, 3, seed=1)
    assert notes == []
    bad = {groups[row] for row in np.flatnonzero(is_defective)}
    for fold in range(3):
        here = {groups[row] for row in np.flatnonzero(folds == fold)}
        assert (len(here & bad), len(here - bad)) == (3, 7)
    assert all(len({folds[row] for row in range(60) if groups[row] == group}) == 1 for group in set(groups))


def test_the_opinion_that_knows_more_on_unseen_groups_counts_more() -> None:
    rng = np.random.default_rng(0)
    is_defective = np.arange(200) >= 120
    noise, good, as_good = (rng.normal(0, 1, 200).astype(np.float32) for _ in range(3))
    good[is_defective] += 3
    as_good[is_defective] += 3
    assert choose_share(noise, good, is_defective)[0] < 0.5 < choose_share(good, noise, is_defective)[0]
    share, told = choose_share(good, as_good, is_defective)
    assert share == 0.5
    assert told.startswith("classifier: head counts 50%")


def test_auto_never_chooses_it_and_who_asks_for_it_is_told_what_it_is_blind_to() -> None:
    images = [
        TrainingImage(
            path=f"{row}.png", sha256=f"{row:064x}", judgement=Judgement.DEFECTIVE if row % 2 else Judgement.GOOD,
            group=f"part-{row}", use=PartUse.TRAIN, source=LabelSource.AUDIT,
        )
        for row in range(2000)
    ]  # fmt: skip
    parts, notes = [Part(image, Path(image.path)) for image in images], list[str]()
    assert choose_kind(DetectorKind.AUTO, parts, notes) is DetectorKind.MIXED
    assert not any("blind" in note for note in notes)
    assert choose_kind(DetectorKind.CLASSIFIER, parts, notes) is DetectorKind.CLASSIFIER
    assert "blind to kinds that nobody has labelled" in notes[-1]
