# SPDX-License-Identifier: Apache-2.0
"""One rule for folds: one without rows has no round, and one that takes all there is to learn from is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.vocabulary import DetectorKind, PartUse
from models.__main__ import main
from models.detectors.base import Detector
from models.detectors.classifier import Classifier
from models.detectors.folds import rounds
from models.detectors.head import HeadSettings
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed
from models.detectors.nearest_cells import MemoryBankSettings, NearestCells
from models.detectors.white_distance import WhiteCells, WholePart
from models.errors import InputError
from models.graphs.features import FeatureExtractor, Features, Picture
from tests.models.conftest import write_parts
from tests.models.test_detectors import make_training


def test_a_fold_without_rows_has_no_round_and_rows_without_a_fold_are_in_none() -> None:
    told = rounds(np.array([0, 2, -1, 2, 3]))
    assert [(each.fold, each.seen.tolist(), each.unseen.tolist()) for each in told] == [
        (0, [1, 3, 4], [0]), (2, [0, 4], [1, 3]), (3, [0, 1, 3], [4]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("folds", "is_defective", "said"),
    [
        ([0, 0, -1], None, "training parts: expected pictures of at least two parts"),
        ([0, 0, 0, 1], [False, False, True, True], "sound training parts: expected pictures of at least two parts"),
        ([0, 1, 1, 1], [False, False, True, True], "defective training parts: .* got 2 that all belong together"),
    ],
)
def test_a_fold_that_takes_all_of_a_kind_is_refused(
    folds: list[int], is_defective: list[bool] | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        rounds(np.array(folds), None if is_defective is None else np.array(is_defective))


def test_a_fold_without_rows_changes_no_distance() -> None:
    features = make_training(20, 0, 0.0).features
    without = np.arange(20) % 3
    gap = np.where(without == 2, 4, without)
    settings = MemoryBankSettings(cells=60, candidates=300)

    def near(folds: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> Features:
        return NearestCells.fit(features, folds, np.random.default_rng(0), settings, lambda _share: None)[1].astype(
            "f2"
        )

    np.testing.assert_array_equal(near(gap), near(without))
    stages = (features.shape[1],)
    np.testing.assert_array_equal(
        WhiteCells.fit(features, stages, gap)[1], WhiteCells.fit(features, stages, without)[1]
    )
    np.testing.assert_array_equal(WholePart.fit(features, gap)[1], WholePart.fit(features, without)[1])


def test_one_fold_alone_is_refused_by_every_opinion_alike() -> None:
    features, folds = make_training(12, 0, 0.0).features, np.zeros(12, np.int64)
    refused = "expected pictures of at least two parts"
    with pytest.raises(InputError, match=refused):
        NearestCells.fit(features, folds, np.random.default_rng(0), MemoryBankSettings(), lambda _share: None)
    with pytest.raises(InputError, match=refused):
        WhiteCells.fit(features, (features.shape[1],), folds)
    with pytest.raises(InputError, match=refused):
        WholePart.fit(features, folds)


@pytest.mark.parametrize("kind", [DetectorKind.MIXED, DetectorKind.CLASSIFIER])
def test_sound_pictures_that_all_belong_to_a_defective_part_are_refused_and_not_learnt_from(kind: DetectorKind) -> None:
    training = make_training(14, 12, 3.0)
    groups = ["one" if not bad else group for bad, group in zip(training.is_defective, training.groups, strict=True)]
    groups[int(np.flatnonzero(training.is_defective)[0])] = "one"
    settings = HeadSettings(steps=2)
    bank = MemoryBank(MemoryBankSettings(cells=60, candidates=300))
    detector: Detector = Mixed(bank, settings) if kind is DetectorKind.MIXED else Classifier(settings)
    with pytest.raises(InputError, match=r"sound training parts: expected pictures of at least two parts.*memory-bank"):
        detector.fit(replace(training, groups=groups), seed=0, check=lambda _share: None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("least", [1, 2])
def test_a_backbone_that_gives_no_numbers_is_told_with_the_picture_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: float, least: int
) -> None:
    write_parts(tmp_path / "set/good", np.random.default_rng(0), 24, is_defective=False, use=PartUse.TRAIN)
    monkeypatch.setenv("SIGHTLINE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    extract = FeatureExtractor.extract
    asked_of: list[int] = []

    def spoilt(extractor: FeatureExtractor, pictures: list[Picture], count: int, *more: object) -> Features:
        found = extract(extractor, pictures, count, *more)  # type: ignore[arg-type]
        asked_of.append(count)
        if count >= least:
            found[-1, 0, 0, 0] = value
        return found

    monkeypatch.setattr(FeatureExtractor, "extract", spoilt)
    asked = ["--images", str(tmp_path / "set"), "--product", "plate", "--size", "96", "--variants", "fp32"]
    out = tmp_path / "out"
    assert main(["--quiet", "train", *asked, "--backbone", "compact", "--threads", "1", "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert f"from the weights of backbone compact, got NaN or infinity for {tmp_path / 'set/good'}" in told
    assert told.count("\n") == 1
    assert (len(asked_of) == 1) is (least == 1), "one picture tells before the others are looked at"
    assert {each.name for each in out.iterdir()} == {"progress.json"}
