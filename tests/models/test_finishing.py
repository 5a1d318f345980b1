# SPDX-License-Identifier: Apache-2.0
"""Which variants go into a package, and what is said of promises that held-out parts contradict."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.jobs import TrainingImage
from contracts.manifest import Limits
from contracts.vocabulary import Judgement, LabelSource, PartUse, Variant
from models.clock import SystemClock
from models.data.parts import Gallery, Part, read_gallery
from models.limits.promises import promise_overkill
from models.packages.reading import Scored, score_pictures
from models.settings import Settings
from models.training.finishing import Measured, broken_promises
from models.training.job import run_job
from models.training.judging_variants import Bench, Candidate
from models.training.rescue import Rescue
from tests.models.conftest import make_job, write_parts
from tests.models.made_package import brightness_graph


def found_nothing(*_arguments: object, **asked: Any) -> Rescue:
    """Stands in for the search for harmful nodes."""
    return Rescue(Variant.INT8_U8S8, asked["refused"], why="nobody looked")


def _parts(folder: Path, good: int) -> list[TrainingImage]:
    return write_parts(folder, np.random.default_rng(0), good, is_defective=False, use=PartUse.TRAIN)


@pytest.mark.parametrize(("blind_anew", "variants"), [(True, ["int8-u8s8", "fp32"]), (False, ["fp32", "int8-u8s8"])])
def test_a_variant_refused_for_its_auroc_is_taken_back_when_learning_anew_is_no_better(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, blind_anew: bool, variants: list[str]
) -> None:
    """Held-out pictures are 8 sound and 8 defective; a blind variant ranks all alike, an AUROC of a half."""
    calls: list[int] = []

    def scored(*arguments: Any) -> Scored:
        found = score_pictures(*arguments)
        if len(found.scores) != 16:
            return found
        calls.append(1)
        is_blind = len(calls) == 1 or (blind_anew and len(calls) == 3)
        return Scored(np.zeros(16, np.float32), found.infer_p50_ms) if is_blind else found

    monkeypatch.setattr("models.training.judging_variants.score_pictures", scored)
    monkeypatch.setattr("models.training.job.rescue", found_nothing)
    images = _parts(tmp_path, 12)
    for is_defective in (False, True):
        rng = np.random.default_rng(1)
        images += write_parts(tmp_path, rng, 8, is_defective=is_defective, use=PartUse.HOLDOUT)
    report = run_job(make_job(tmp_path, images), settings, SystemClock())
    assert len(calls) == 3
    assert [each.variant for each in report.variants] == variants
    assert [each.is_included for each in report.variants] == ([True, True] if blind_anew else [True, False])
    told = next(note for note in report.notes if note.startswith("int8-u8s8: "))
    assert ("kept, although its image AUROC fell" in told) is blind_anew
    assert sum(note.startswith("limits: ") for note in report.notes) == 1


def test_nothing_held_out_is_said_to_leave_int8_unchecked(tmp_path: Path, settings: Settings) -> None:
    report = run_job(make_job(tmp_path, _parts(tmp_path, 12)), settings, SystemClock())
    assert any("no pictures are held out, so no AUROC is known" in note for note in report.notes)


def test_held_out_parts_that_contradict_a_promise_are_pointed_out() -> None:
    """Ten sound parts held out, one of two pictures; all promise at most a tenth."""
    promise = promise_overkill(parts=30, pictures=30, beyond=0, asked_rate=0.01, confidence=0.95)
    limits = Limits(ok_limit=0.5, ng_limit=0.8, sound_parts=30, rule="made up", overkill=promise)
    held_out = [_held_out(f"p{number // 2}" if number < 2 else f"p{number}") for number in range(11)]
    few, many = np.zeros(11, np.float32), np.zeros(11, np.float32)
    few[2] = 0.9
    many[[0, 1, 2, 3, 4, 5]] = 0.9
    assert broken_promises(held_out, few, limits) == []
    (told,) = broken_promises(held_out, many, limits)
    assert told.startswith("overkill: 5 of 10 held-out parts (18.7%–81.3%")
    assert "more than the 9.6 % promised" in told


def _held_out(group: str) -> Part:
    image = TrainingImage(
        path="x.png", sha256="0" * 64, judgement=Judgement.GOOD, group=group, use=PartUse.HOLDOUT,
        source=LabelSource.AUDIT,
    )  # fmt: skip
    return Part(image, Path(image.path))


@pytest.mark.parametrize(("is_fitted_on", "offset"), [(True, 20), (False, 20), (False, 5)])
def test_a_form_that_limits_do_not_know_must_agree_on_every_sound_training_picture(
    tmp_path: Path, settings: Settings, is_fitted_on: bool, offset: float
) -> None:
    """Golden images agree; the other sound training pictures are `offset` apart, where 10 is the way to the limit."""
    gallery = read_gallery(_parts(tmp_path, 12), settings)
    golden = np.zeros((1, 32, 32, 3), np.uint8)
    bench = Bench(gallery, [], golden, golden_sound=1, scale=10, centre=1, threads=1)
    exact, candidate = (
        Candidate(Variant.INT8_U8S8, graph, np.zeros(1, np.float32), Scored(np.zeros(0, np.float32), 1))
        for graph in (brightness_graph(), brightness_graph(offset=offset))
    )
    bench.judge(candidate, exact, is_fitted_on=is_fitted_on)
    assert candidate.is_included is (is_fitted_on or offset < 10)
    if not candidate.is_included:
        assert candidate.note.startswith("parity error 2.00 on 12 sound training pictures")


@pytest.mark.parametrize(("float_nodes", "ms", "is_told"), [(5, 12.0, True), (5, 8.0, False), (0, 12.0, False)])
def test_what_was_saved_and_gains_no_time_is_said_to(float_nodes: int, ms: float, is_told: bool) -> None:
    scores = np.zeros(1, np.float32)
    exact = Candidate(Variant.FP32, b"", scores, Scored(scores, 10.0))
    saved = Candidate(Variant.INT8_U8S8, b"", scores, Scored(scores, ms), float_nodes=float_nodes, of_nodes=10)
    bench = Bench(
        Gallery(Settings()), [], np.zeros((1, 1, 1, 3), np.uint8), golden_sound=1, scale=1, centre=1, threads=1
    )
    told = Measured(bench, Variant.FP32, [saved, exact]).told_slow()
    assert [line.startswith("speed: int8-u8s8 with 5 nodes in float") for line in told] == [True] * is_told
