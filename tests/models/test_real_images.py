# SPDX-License-Identifier: Apache-2.0
"""On real tiles: sound-only separates, labels do no harm, INT8 keeps what float has."""

from pathlib import Path

import pytest

from contracts.jobs import EvaluationReport, TrainingImage
from contracts.vocabulary import DetectorKind, Judgement, PartUse, Variant
from models.clock import SystemClock
from models.data.layouts import read_layout
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import make_job


def subset(images: list[TrainingImage]) -> list[TrainingImage]:
    """Every tenth held-out picture, a quarter of the sound training ones, a third of the labelled defects."""
    good = [image for image in images if image.use is PartUse.TRAIN and image.judgement is Judgement.GOOD]
    labelled = [image for image in images if image.use is PartUse.TRAIN and image.judgement is Judgement.DEFECTIVE]
    return good[::4] + labelled[::3] + [image for image in images if image.use is PartUse.HOLDOUT][::10]


def train(folder: Path, images: list[TrainingImage], settings: Settings) -> EvaluationReport:
    # A field below the usual 256 px: a refused form is learnt up to three times, and heads take most of that.
    # One thread: beside other work on two cores, two of torch's wait for each other for most of their time.
    job = make_job(folder, subset(images), product="tile", size_px=160, is_simulated=False, threads=1)
    return run_job(job, settings, SystemClock())


@pytest.mark.slow
@pytest.mark.xdist_group("real_images")
@pytest.mark.timeout(1800)
@pytest.mark.real_images
def test_labelled_tiles_cost_nothing_and_int8_keeps_what_float_has(
    tmp_path: Path, real_images: Path, settings: Settings
) -> None:
    folder = real_images / "magnetic_tile"
    alone = train(tmp_path / "alone", read_layout(folder, "magnetic-tile"), settings)
    labelled = train(tmp_path / "labelled", read_layout(folder, "magnetic-tile", half=0), settings)
    assert (alone.detector, labelled.detector) == (DetectorKind.MEMORY_BANK, DetectorKind.MIXED)
    figures = {}
    for name, report in (("alone", alone), ("labelled", labelled)):
        exact, small = (
            next(measured for measured in report.variants if measured.variant is variant)
            for variant in (Variant.FP32, Variant.INT8_U8S8)
        )
        assert exact.image_auroc is not None
        assert small.image_auroc is not None
        assert small.image_auroc > exact.image_auroc - 0.03
        figures[name] = exact.image_auroc
    # A tenth of the held-out tiles, and not the same ones: an AUROC of this test is good to a few hundredths.
    assert figures["alone"] > 0.65
    assert figures["labelled"] > figures["alone"] - 0.08
