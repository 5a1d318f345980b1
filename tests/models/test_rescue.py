# SPDX-License-Identifier: Apache-2.0
"""A quantization that is bad is refused and said to be; where a few nodes are to blame, they go back to float."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from contracts.jobs import PROGRESS_NAME, TrainingImage
from contracts.vocabulary import PartUse, Variant
from models.clock import SystemClock
from models.errors import CancelledError
from models.graphs import quantization
from models.packages.reading import open_package
from models.reporting.page import render_page
from models.settings import Settings
from models.training.finishing import Finish, Measured, measure
from models.training.job import run_job
from models.training.judging_variants import Bench
from models.training.progress import Progress
from tests.models.conftest import make_job, write_parts


def _images(folder: Path) -> list[TrainingImage]:
    rng = np.random.default_rng(2)
    images = write_parts(folder, rng, 24, is_defective=False, use=PartUse.TRAIN)
    for is_defective in (False, True):
        images += write_parts(folder, rng, 8, is_defective=is_defective, use=PartUse.HOLDOUT)
    return images


def spoil(monkeypatch: pytest.MonkeyPatch, *, all_of_them: bool = False) -> list[str]:
    """Whenever it is quantized, the scales of a convolution's weights are thirty times too large.

    Of the trunk's second one, or of them all; returns their names, once they are known.
    """
    honest = quantization.Quantizer.with_only
    spoilt: list[str] = []

    def with_only(self: quantization.Quantizer, names: Sequence[str]) -> onnx.ModelProto:
        model = onnx.load_model_from_string(honest(self, names).SerializeToString())
        convolutions = [node.name for node in self.nodes if node.op_type == "Conv"]
        spoilt[:] = convolutions if all_of_them else convolutions[1:2]
        made_by = {node.output[0]: node for node in model.graph.node}
        scales = {
            made_by[node.input[1]].input[1] for node in model.graph.node if node.name in spoilt and node.name in names
        }
        for tensor in model.graph.initializer:
            if tensor.name in scales:
                scale = numpy_helper.to_array(tensor)
                factor = np.full(scale.shape, 30, np.float32)
                if all_of_them:
                    # What grows as a whole keeps its direction, which is what is compared: every other channel is lost.
                    factor.reshape(-1)[::2] = 1e-3
                tensor.CopyFrom(numpy_helper.from_array(scale * factor, tensor.name))
        return model

    monkeypatch.setattr(quantization.Quantizer, "with_only", with_only)
    return spoilt


def test_a_ruined_node_goes_back_to_float_and_the_variant_is_saved(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = spoil(monkeypatch)
    job = make_job(tmp_path, _images(tmp_path))
    report = run_job(job, settings, SystemClock())
    assert report.candidate_variant is Variant.INT8_U8S8
    saved = next(each for each in report.variants if each.variant is Variant.INT8_U8S8)
    assert saved.is_included
    assert 0 < saved.float_nodes <= saved.of_nodes / 2
    assert [step.is_accepted for step in report.searched] == [False] * (len(report.searched) - 1) + [True]
    assert report.searched[0].worst[0] == spoilt[0], "the ruined node is ranked the worst"
    (note,) = [note for note in report.notes if note.startswith("int8-u8s8: ")]
    assert "stay in float" in note
    assert spoilt[0] in note
    package = open_package(Path(job.output_dir) / "package")
    graph = onnx.load_model_from_string(package.model(Variant.INT8_U8S8)).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    (victim,) = [node for node in graph.node if node.name == f"front/{spoilt[0]}"]
    assert victim.input[1] not in dequantized
    assert dequantized
    told = json.loads((package.folder / "report.json").read_text())
    assert told["searched"] == [step.model_dump(mode="json") for step in report.searched]
    page = render_page(job, report, package, settings)
    assert "Search for the nodes that harm INT8" in page
    assert f"{saved.float_nodes} of {saved.of_nodes} nodes in float" in page


def test_a_quantization_ruined_throughout_is_refused_and_the_report_says_that_no_search_saved_it(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, all_of_them=True)
    job = make_job(tmp_path, _images(tmp_path))
    report = run_job(job, settings, SystemClock())
    # A detector fitted on the ruined front looks better there than on fp32; the fronts themselves tell.
    assert report.candidate_variant is Variant.FP32
    (left_out,) = [each for each in report.variants if not each.is_included]
    assert left_out.variant is Variant.INT8_U8S8
    assert report.searched
    assert not any(step.is_accepted for step in report.searched)
    assert all(step.float_nodes <= step.of_nodes / 2 for step in report.searched)
    stray = [step for step in report.searched if step.note.startswith("parity error")]
    assert stray
    assert all(step.image_auroc is None for step in stray), "what golden images refuse is not run further"
    told = [note for note in report.notes if note.startswith("int8-u8s8: ")]
    assert len(told) == 2
    assert told[0] == f"int8-u8s8: left out, {left_out.note}"
    assert "whose return to float would save it" in told[1]
    package = open_package(Path(job.output_dir) / "package")
    assert [entry.variant for entry in package.manifest.variants] == [Variant.FP32]
    assert "Search for the nodes that harm INT8" in render_page(job, report, package, settings)


def test_a_stop_during_the_search_leaves_no_package(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    job = make_job(tmp_path, _images(tmp_path))

    def watch(stage: str, _fraction: float) -> None:
        if stage == "searching for harmful nodes":
            raise CancelledError

    with pytest.raises(CancelledError):
        run_job(job, settings, SystemClock(), watch=watch)
    assert sorted(path.name for path in Path(job.output_dir).iterdir()) == [PROGRESS_NAME]


def test_a_search_for_which_no_time_is_left_is_given_up_and_said_to_be(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    report = run_job(make_job(tmp_path, _images(tmp_path)), settings, SystemClock(), budget_s=0.01)
    assert report.candidate_variant is Variant.FP32
    assert report.searched == []
    assert any(note.startswith("budget: no search for the nodes that harm int8-u8s8 (about") for note in report.notes)


def test_every_form_that_a_job_asks_for_is_measured_by_the_same_rules(tmp_path: Path, settings: Settings) -> None:
    variants = [Variant.FP16, Variant.INT8_S8S8, Variant.INT8_U8S8]
    job = make_job(tmp_path, _images(tmp_path), variants=variants)
    report = run_job(job, settings, SystemClock())
    assert {each.variant for each in report.variants} == set(Variant)
    assert report.candidate_variant is Variant.INT8_U8S8, "what a CPU station runs"
    package = open_package(Path(job.output_dir) / "package")
    assert package.preferred() is Variant.INT8_U8S8
    golden = np.load(package.folder / package.manifest.golden.file, allow_pickle=False)
    for each in report.variants:
        assert each.is_included, each.note
        assert each.image_auroc is not None
        assert golden[f"score_{each.variant.replace('-', '_')}"].dtype == np.float32


def test_int8_for_npus_is_saved_without_another_fit_and_cpus_keep_theirs(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    job = make_job(tmp_path, _images(tmp_path), variants=[Variant.INT8_S8S8])
    report = run_job(job, settings, SystemClock())
    assert report.candidate_variant is Variant.FP32, "no CPU station prefers s8s8"
    saved = next(each for each in report.variants if each.variant is Variant.INT8_S8S8)
    assert saved.is_included
    assert saved.float_nodes > 0
    assert report.searched[-1].variant is Variant.INT8_S8S8


@pytest.mark.parametrize("fault", ["", "made up"])
def test_what_a_fit_of_its_own_would_refuse_is_taken_beside_fp32_where_it_strays_nowhere(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Bank and fp32 may part when the detector is fitted on a form that passed on fp32's own fit."""
    spoil(monkeypatch)
    fits: list[Finish] = []

    def strict(done: Finish, progress: Progress) -> Measured:
        fits.append(done)
        measured = measure(done, progress)
        if len(fits) == 2:
            lost = measured.candidates.pop(0)
            lost.is_included, lost.note = False, "it is the last"
            measured.refused.append(lost)
        return measured

    monkeypatch.setattr("models.training.job.measure", strict)
    monkeypatch.setattr(Bench, "sound_fault", lambda *_told: fault)
    job = make_job(tmp_path, _images(tmp_path))
    report = run_job(job, settings, SystemClock())
    assert [done.variants[0][0] for done in fits] == [Variant.FP32, Variant.INT8_U8S8], (
        "none on the front that speaks against itself"
    )
    package = open_package(Path(job.output_dir) / "package")
    assert package.manifest.limits == fits[0].learned.limits
    assert report.searched[-1].is_accepted is not bool(fault)
    if fault:
        assert [entry.variant for entry in package.manifest.variants] == [Variant.FP32]
        assert any(note.endswith("it is the last; and without: made up") for note in report.notes)
        return
    assert report.candidate_variant is Variant.INT8_U8S8
    assert {entry.variant for entry in package.manifest.variants} == {Variant.INT8_U8S8, Variant.FP32}
    assert [each.is_included for each in report.variants] == [True, True]
    (note,) = [note for note in report.notes if note.startswith("int8-u8s8: ")]
    assert "limits are of a fit on fp32, because with one of its own: it is the last" in note
