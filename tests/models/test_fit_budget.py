# SPDX-License-Identifier: Apache-2.0
"""`train --fit-budget-ms`: measured, within the budget, chosen by training pictures, and nothing half-written.

Milliseconds are told by the tests (so many for each px of the model's side), so that they do not hang on the machine.
"""

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from contracts.jobs import EVALUATION_NAME, EvaluationReport, TrainingImage, TrainingJob
from contracts.tiles import Tiles
from contracts.vocabulary import PartUse, Variant
from models.__main__ import main
from models.clock import SystemClock
from models.detectors.base import Floats
from models.errors import CancelledError, InputError
from models.graphs.backbones import MobileNetV2
from models.graphs.export import build_graph
from models.graphs.features import build_front
from models.graphs.timing import SessionTime, time_session
from models.graphs.trunks import resolve
from models.packages.reading import open_package
from models.settings import Settings
from models.training import fit_budget, fit_candidates
from models.training.fit_budget import run_within
from models.training.fit_candidates import Candidate, Measure, in_order
from models.training.job import run_job
from tests.models.conftest import make_job, write_parts


def by_size(_model: onnx.ModelProto | bytes, size_px: int, _threads: int) -> SessionTime:
    """A ms for ten px of the side."""
    return SessionTime(size_px / 10, size_px / 10)


@pytest.fixture
def images(tmp_path: Path) -> list[TrainingImage]:
    """Sound and defective parts on both sides, enough labels to compare by."""
    rng = np.random.default_rng(3)
    return [
        *write_parts(tmp_path, rng, 20, is_defective=False, use=PartUse.TRAIN),
        *write_parts(tmp_path, rng, 8, is_defective=True, use=PartUse.TRAIN),
        *write_parts(tmp_path, rng, 6, is_defective=False, use=PartUse.HOLDOUT),
        *write_parts(tmp_path, rng, 6, is_defective=True, use=PartUse.HOLDOUT),
    ]


def fit(
    job: TrainingJob, settings: Settings, *, within_ms: float, measure: Measure = by_size, budget_s: float | None = None
) -> EvaluationReport:
    return run_within(job, settings, SystemClock(), within_ms=within_ms, measure=measure, budget_s=budget_s)


def told(report: EvaluationReport, start: str) -> str:
    (line,) = (note for note in report.notes if note.startswith(f"fit-budget: {start}"))
    return line


def trained_px(report: EvaluationReport) -> list[int]:
    """Sizes that were trained."""
    lines = [note for note in report.notes if note.startswith("fit-budget: compact at") and ", trained " in note]
    return [int(line.split(" at ")[1].split(" px")[0]) for line in lines]


@pytest.mark.slow
def test_every_candidate_is_told_with_its_ms_and_why_it_was_taken_or_left(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    report = fit(make_job(tmp_path, images), settings, within_ms=8.5)
    assert "median of the bare session" in told(report, "at most 8.5 ms")
    assert not any("the machine was busy" in note for note in report.notes)
    assert told(report, "compact at 96 px").endswith("fp32 9.60 ms, int8-u8s8 9.60 ms; left: over the budget")
    assert trained_px(report) == [80, 64]
    (taken,) = (note for note in report.notes if "taken: the best of 2" in note)
    assert re.search(
        r"trained .*fp32 \d\.\d0 ms(, int8-u8s8 \d\.\d0 ms)?, quality on unseen groups [01]\.\d{3}; taken", taken
    )
    package = open_package(tmp_path / "out" / "package")
    assert f"compact at {package.manifest.graph.model_width_px} px" in taken
    assert package.package_id == report.package_id
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"package", "progress.json", EVALUATION_NAME}
    kept = json.loads((tmp_path / "out" / EVALUATION_NAME).read_text())
    assert taken in kept["notes"]


@pytest.mark.slow
def test_training_pictures_choose_and_held_out_ones_do_not(
    tmp_path: Path, images: list[TrainingImage], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_scores: list[int] = []

    def second_is_better(scores: Floats, is_defective: NDArray[np.bool_]) -> float:
        assert int(is_defective.sum()) == 8
        told_scores.append(len(scores))
        return 0.5 + 0.1 * len(told_scores)

    monkeypatch.setattr(fit_budget, "separation", second_is_better)
    report = fit(make_job(tmp_path, images, size_px=80), settings, within_ms=8.5)
    # One score for each training picture.
    assert told_scores == [28, 28]
    assert "left: another separates better" in told(report, "compact at 80 px")
    assert "quality on unseen groups 0.700; taken" in told(report, "compact at 64 px")
    assert open_package(tmp_path / "out" / "package").manifest.graph.model_width_px == 64


def test_nothing_within_the_budget_names_the_fastest_and_leaves_the_earlier_result(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    def of_no_package(model: onnx.ModelProto | bytes, size_px: int, threads: int) -> SessionTime:
        assert not isinstance(model, bytes), "what does not fit is not trained"
        return by_size(model, size_px, threads)

    before = fit(make_job(tmp_path, images, size_px=80), settings, within_ms=6.5)
    with pytest.raises(
        InputError, match=r"within 6 ms, got 6\.40 ms from the fastest at hand \(compact at 64 px, .*1 thread\); allow"
    ):
        fit(make_job(tmp_path, images, size_px=80), settings, within_ms=6.0, measure=of_no_package)
    assert open_package(tmp_path / "out" / "package").package_id == before.package_id
    assert not (tmp_path / "out" / ".fit-budget.part").exists()


def slow_in_fp32(model: onnx.ModelProto | bytes, size_px: int, _threads: int) -> SessionTime:
    """FP32 takes ten times as long as what is quantized."""
    graph = onnx.load_model_from_string(model) if isinstance(model, bytes) else model
    is_quantized = any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
    return SessionTime(size_px / (100 if is_quantized else 10), 1.0)


@pytest.mark.slow
def test_only_forms_that_will_be_in_the_package_are_weighed(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    job = make_job(tmp_path, images, size_px=64)
    within = fit(job, settings, within_ms=1.0, measure=slow_in_fp32)
    assert told(within, "compact at 64 px").startswith("fit-budget: compact at 64 px: fp32 6.40 ms, int8-u8s8 0.64 ms")
    exact = job.model_copy(update={"variants": [Variant.FP32]})
    with pytest.raises(
        InputError, match=r"got 6\.40 ms from the fastest at hand \(compact at 64 px, fp32, 1 thread\); allow more, "
        r"give more --threads, a smaller --size or int8-u8s8 among the --variants$",
    ):  # fmt: skip
        fit(exact, settings, within_ms=1.0, measure=slow_in_fp32)
    npu = job.model_copy(update={"variants": [Variant.INT8_S8S8]})
    assert "int8-s8s8 0.64 ms" in told(fit(npu, settings, within_ms=1.0, measure=slow_in_fp32), "compact at 64 px")


def test_fewer_tiles_are_advised_where_there_are_several(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    job = make_job(tmp_path, images, size_px=64, tiles=Tiles(rows=1, columns=2))
    with pytest.raises(InputError, match=r"give more --threads, fewer --tiles than 1x2 or a smaller --size$"):
        fit(job, settings, within_ms=1.0)


def grows(model: onnx.ModelProto | bytes, size_px: int, _threads: int) -> SessionTime:
    """A package of 80 px takes longer than its stand-in. Packages are measured as bytes, stand-ins as models."""
    return SessionTime(size_px / 10 + (3.0 if isinstance(model, bytes) and size_px == 80 else 0.0), 5.0)


def test_package_over_the_budget_as_trained_still_counts_as_one_of_those_trained(
    tmp_path: Path, images: list[TrainingImage], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_budget, "MOST_TRAINED", 2)
    report = fit(make_job(tmp_path, images), settings, within_ms=9.8, measure=grows)
    assert trained_px(report) == [96, 80]
    assert told(report, "compact at 64 px").endswith("left: within the budget, others promise more")


@pytest.mark.slow
def test_package_that_is_over_the_budget_as_trained_is_left_and_a_further_one_trained(
    tmp_path: Path, images: list[TrainingImage], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_budget, "MOST_TRAINED", 1)
    report = fit(make_job(tmp_path, images, size_px=80), settings, within_ms=8.5, measure=grows)
    assert re.search(r"trained .*fp32 11\.00 ms", told(report, "compact at 80 px"))
    assert told(report, "compact at 80 px").endswith("left: over the budget as trained")
    assert "taken" in told(report, "compact at 64 px")
    assert "a median was 2.2 times the fastest turn" in told(report, "the machine was busy")


def test_without_labels_the_largest_field_that_fits_is_trained_alone(tmp_path: Path, settings: Settings) -> None:
    images = write_parts(tmp_path, np.random.default_rng(3), 12, is_defective=False, use=PartUse.TRAIN)
    report = fit(make_job(tmp_path, images, size_px=80), settings, within_ms=9.0)
    assert trained_px(report) == [80]
    assert "taken: with fewer than 8 labelled defects the largest field" in told(report, "compact at 80 px")
    assert told(report, "compact at 64 px").endswith("left: within the budget, others promise more")


def test_order_is_a_large_field_of_each_trunk_before_a_smaller_one_of_any(settings: Settings) -> None:
    trunk = resolve(settings, "compact", None, [])
    mobile = replace(trunk, name="mobilenet_v2")
    every = [Candidate(each, None, size) for each in (trunk, mobile) for size in (160, 192)] + [
        Candidate(trunk, None, 224)
    ]
    assert [each.name for each in in_order(every, has_labels=True)] == [
        "mobilenet_v2 at 192 px", "compact at 224 px",
        "mobilenet_v2 at 160 px", "compact at 192 px", "compact at 160 px",
    ]  # fmt: skip
    assert [each.name for each in in_order(every, has_labels=False)][:3] == [
        "compact at 224 px", "mobilenet_v2 at 192 px", "compact at 192 px",
    ]  # fmt: skip


@pytest.mark.slow
def test_weights_at_hand_are_tried_and_spoilt_ones_are_told(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    torch.manual_seed(0)
    save_file(
        {k: v for k, v in MobileNetV2().state_dict().items() if v.is_floating_point()}, tmp_path / "mine.safetensors"
    )
    settings.cache_dir.mkdir()
    (settings.cache_dir / "squeezenet1_1.pth").write_bytes(b"rubbish")
    (tmp_path / "mine.safetensors").rename(settings.cache_dir / "mobilenet_v2.safetensors")
    report = fit(make_job(tmp_path, images, backbone="auto", size_px=64), settings, within_ms=6.5)
    assert "not readable" in told(report, "squeezenet1_1: left: weights squeezenet1_1.pth")
    assert "trained" in told(report, "mobilenet_v2 at 64 px")
    assert "trained" in told(report, "compact at 64 px")


def test_time_that_is_up_ends_the_trainings_and_is_told(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    report = fit(make_job(tmp_path, images, size_px=80), settings, within_ms=8.5, budget_s=0.01)
    assert "taken: the best of 1" in told(report, "compact at 80 px")
    assert ": 0 s of the time are left, a training took up to " in told(report, "compact at 64 px")


@pytest.mark.slow
def test_a_tie_is_no_better_and_the_one_trained_first_stays(
    tmp_path: Path, images: list[TrainingImage], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_budget, "separation", lambda _scores, _is_defective: 0.75)
    report = fit(make_job(tmp_path, images, size_px=80), settings, within_ms=8.5)
    assert "0.750; taken: the best of 2" in told(report, "compact at 80 px")
    line = told(report, "compact at 64 px")
    assert line.endswith("0.750; left: separates as well as the one taken, which was trained before")


@pytest.mark.slow
def test_the_report_counts_the_seconds_of_the_whole_search(
    tmp_path: Path, images: list[TrainingImage], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one: list[float] = []
    one = run_job

    def watched(*given: Any, **named: Any) -> EvaluationReport:
        report = one(*given, **named)
        of_one.append(report.training_seconds)
        return report

    monkeypatch.setattr(fit_budget, "run_job", watched)
    before_last: list[float] = []
    began_s = time.monotonic()
    report = run_within(
        make_job(tmp_path, images, size_px=80), settings, SystemClock(), within_ms=8.5, measure=by_size,
        before_last=lambda _job, told: before_last.append(told.training_seconds),
    )  # fmt: skip
    assert len(of_one) == 2
    assert sum(of_one) < report.training_seconds < time.monotonic() - began_s
    kept = json.loads((tmp_path / "out" / EVALUATION_NAME).read_text())
    assert before_last == [kept["training_seconds"]] == [report.training_seconds]


@pytest.mark.slow
def test_stop_amid_a_training_leaves_the_folder_as_it_was(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    before = fit(make_job(tmp_path, images, size_px=80), settings, within_ms=6.5)

    def stop(stage: str, fraction: float) -> None:
        if stage.startswith("training compact at 64") and fraction > 0.6:
            raise CancelledError

    with pytest.raises(CancelledError):
        run_within(
            make_job(tmp_path, images, size_px=80), settings, SystemClock(), within_ms=8.5, measure=by_size, watch=stop
        )
    assert open_package(tmp_path / "out" / "package").package_id == before.package_id
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"package", "progress.json", EVALUATION_NAME}


@pytest.mark.slow
def test_new_package_takes_the_place_of_the_earlier_one_only_when_all_is_written(
    tmp_path: Path, images: list[TrainingImage], settings: Settings
) -> None:
    def fails(_taken: TrainingJob, _report: EvaluationReport) -> None:
        raise InputError("no room for the page")

    before = fit(make_job(tmp_path, images, size_px=64), settings, within_ms=6.5)
    another = make_job(tmp_path, images, size_px=64, seed=1)
    with pytest.raises(InputError, match="no room for the page"):
        run_within(another, settings, SystemClock(), within_ms=6.5, measure=by_size, before_last=fails)
    assert open_package(tmp_path / "out" / "package").package_id == before.package_id
    after = fit(another, settings, within_ms=6.5)
    assert open_package(tmp_path / "out" / "package").package_id == after.package_id != before.package_id


def test_measured_time_is_that_of_one_picture_of_the_models_size(settings: Settings) -> None:
    """A larger field takes longer, and the time is of the order that a stop watch around the session shows."""
    trunk = resolve(settings, "compact", None, [])
    found = []
    for size_px in (64, 256):
        bank = fit_candidates._stand_in(128, size_px // 8, Tiles())
        graph = build_graph(build_front(trunk, size_px=size_px, grid=size_px // 8), bank, channels=128)
        found.append(time_session(graph, size_px, 1, SystemClock()).fastest_ms)
    assert 0 < found[0] < found[1] / 3


def test_command_says_what_it_took_and_refuses_a_budget_of_nothing(
    tmp_path: Path, images: list[TrainingImage], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    folder = tmp_path / "set"
    for image in images:
        kind = "good" if image.defect_class is None else image.defect_class
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / Path(image.path).name).write_bytes(Path(image.path).read_bytes())
    command = ["--quiet", "train", "--images", str(folder), "--product", "plate", "--size", "64"]
    command += ["--out", str(tmp_path / "told")]
    assert main([*command, "--fit-budget-ms", "0"]) == 2
    assert "--fit-budget-ms: expected more than 0, got 0.0" in capsys.readouterr().err
    assert main([*command, "--fit-budget-ms", "10000"]) == 0
    assert "with 1 thread;" in capsys.readouterr().out
    report = json.loads((tmp_path / "told/report.json").read_text())
    assert any("compact at 64 px" in note and "taken" in note for note in report["notes"])
    assert "fit-budget" in (tmp_path / "told/report.html").read_text()
    variants = open_package(tmp_path / "told" / "package").manifest.variants
    assert Variant.FP32 in {entry.variant for entry in variants}
