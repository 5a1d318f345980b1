# SPDX-License-Identifier: Apache-2.0
"""Packages that name defect classes: from the job to what a station says of a part."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from contracts.vocabulary import DetectorKind, Judgement, PartUse, Variant, Verdict
from edge_agent.camera.source import Frame
from edge_agent.clock import SystemClock as StationClock
from edge_agent.inference.onnx import open_session
from edge_agent.inference.session import LoadedPackage
from edge_agent.inference.slots import PackageSlots
from edge_agent.judging import Judge
from edge_agent.packages.selftest import run_self_test
from edge_agent.recipes.recipe import Recipes
from models.data.parts import read_picture
from models.packages.reading import class_named, open_package, score_pictures
from models.settings import Settings
from tests.models.conftest import CLASSES, Trained, trained_on

NAMING = [DetectorKind.MIXED, DetectorKind.CLASSIFIER]


def judge_with(package: Path, variant: Variant) -> Judge:
    """A station's judge with the package as the installer would activate it, its self-test passed."""
    opened = open_package(package)
    entry = next(each for each in opened.manifest.variants if each.variant is variant)
    session = open_session(package / entry.file, provider="CPUExecutionProvider", threads=1)
    run_self_test(session, package / opened.manifest.golden.file, opened.manifest, variant, StationClock())
    slots = PackageSlots()
    slots.activate(LoadedPackage(opened.package_id, opened.manifest, variant, session))
    return Judge(slots, Recipes(), StationClock(), default_product=None)


@pytest.mark.parametrize("kind", NAMING)
@pytest.mark.parametrize("variant", [Variant.INT8_U8S8, Variant.FP32])
def test_a_station_names_the_class_of_a_defective_part_and_none_of_a_sound_one(
    kind: DetectorKind, variant: Variant, named: Callable[[DetectorKind], Trained], settings: Settings
) -> None:
    done = named(kind)
    assert open_package(done.package).manifest.defect_classes == CLASSES
    judge, clock = judge_with(done.package, variant), StationClock()
    said: list[bool] = []
    for image in done.job.images:
        if image.use is PartUse.HOLDOUT:
            pixels = read_picture(Path(image.path), settings)
            told = judge.judge(Frame(pixels, datetime.now(UTC), clock.monotonic(), 1))
            if told.decision.verdict is Verdict.OK:
                assert told.defect_class is None
            elif image.judgement is Judgement.DEFECTIVE:
                said.append(told.defect_class == image.defect_class)
    assert len(said) >= 10
    assert np.mean(said) >= 0.8


@pytest.mark.parametrize("kind", NAMING)
def test_the_report_names_each_held_out_picture_as_a_station_would(
    kind: DetectorKind, named: Callable[[DetectorKind], Trained], settings: Settings
) -> None:
    done = named(kind)
    judge, clock = judge_with(done.package, done.report.candidate_variant), StationClock()
    paths = {image.sha256: Path(image.path) for image in done.job.images}
    for verdict in done.report.holdout:
        pixels = read_picture(paths[verdict.sha256], settings)
        told = judge.judge(Frame(pixels, datetime.now(UTC), clock.monotonic(), 1))
        assert (told.decision.verdict, told.defect_class) == (verdict.candidate_verdict, verdict.candidate_class)


def test_what_a_station_would_not_name_has_no_name() -> None:
    scores = np.array([0.2, 0.8], np.float32)
    assert class_named(Verdict.NG, scores, CLASSES) == "speck"
    assert class_named(Verdict.REVIEW, scores, CLASSES) == "speck"
    assert class_named(Verdict.OK, scores, CLASSES) is None
    assert class_named(Verdict.NO_DECISION, scores, CLASSES) is None
    assert class_named(Verdict.NG, scores, ["one"]) is None
    assert class_named(Verdict.NG, None, CLASSES) is None


@pytest.mark.parametrize("kind", NAMING)
def test_both_variants_carry_class_scores_that_agree(
    kind: DetectorKind, named: Callable[[DetectorKind], Trained], settings: Settings
) -> None:
    done = named(kind)
    package = open_package(done.package)
    pictures = [
        read_picture(Path(image.path), settings)
        for image in done.job.images
        if image.use is PartUse.HOLDOUT and image.judgement is Judgement.DEFECTIVE
    ]
    told = [
        score_pictures(package.model(variant), pictures, 1).class_scores
        for variant in (Variant.INT8_U8S8, Variant.FP32)
    ]
    for scores in told:
        assert scores is not None
        assert scores.shape == (12, 2)
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
    assert told[0] is not None
    assert told[1] is not None
    assert (told[0].argmax(1) == told[1].argmax(1)).mean() >= 0.9


@pytest.mark.parametrize("kind", NAMING)
def test_the_second_variant_is_brought_to_the_class_scores_of_the_first(
    kind: DetectorKind, named: Callable[[DetectorKind], Trained], settings: Settings
) -> None:
    done = named(kind)
    package = open_package(done.package)
    pictures = [
        read_picture(Path(image.path), settings)
        for image in done.job.images
        if image.use is PartUse.TRAIN and image.judgement is Judgement.GOOD
    ]
    chances = []
    for variant in (Variant.INT8_U8S8, Variant.FP32):
        scores = score_pictures(package.model(variant), pictures, 1).class_scores
        assert scores is not None
        chances.append(np.log(scores[:, 0] / scores[:, 1]))
    assert abs(float(np.median(chances[0] - chances[1]))) < 0.01


@pytest.mark.parametrize("kind", NAMING)
def test_naming_on_unseen_groups_stands_in_the_reports(
    kind: DetectorKind, named: Callable[[DetectorKind], Trained]
) -> None:
    done = named(kind)
    (note,) = [note for note in done.report.notes if note.startswith("defect classes named right on unseen groups")]
    told = json.loads((done.package / "report.json").read_text())["class_names"]
    assert told["is_named"]
    for each, count in zip(told["classes"], (7, 9), strict=True):
        assert each["pictures"] == each["parts"] == count
        assert 0 <= each["parts_right_low"] <= each["parts_right"] / count <= each["parts_right_high"] <= 1
        assert f"{each['name']} {each['parts_right']} of {count} parts (" in note


def test_one_labelled_class_is_said_not_to_be_named(trained: Callable[[DetectorKind], Trained]) -> None:
    done = trained(DetectorKind.MIXED)
    assert open_package(done.package).manifest.defect_classes == []
    assert "defect classes: not named; needs two classes of at least 4 labelled parts each, got speck 10" in (
        done.report.notes
    )
    assert {verdict.candidate_class for verdict in done.report.holdout} == {None}


def test_a_memory_bank_names_nothing(tmp_path: Path) -> None:
    done = trained_on(tmp_path, {"scratch": 7, "speck": 9}, DetectorKind.MEMORY_BANK)
    assert open_package(done.package).manifest.defect_classes == []
    assert not any("defect class" in note for note in done.report.notes)
