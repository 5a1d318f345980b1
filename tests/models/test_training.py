# SPDX-License-Identifier: Apache-2.0
"""A job from file to package, and all the ways in which it must say no."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from contracts.codec import decode, encode
from contracts.jobs import EvaluationReport, TrainingImage, TrainingJob, TrainingProgress
from contracts.manifest import PackageManifest
from contracts.vocabulary import DetectorKind, Judgement, PartUse, TrainingState, Variant, Verdict
from models.__main__ import main
from models.clock import SystemClock
from models.data.parts import read_picture
from models.errors import (
    CancelledError,
    InputError,
    QuantizationError,
)
from models.graphs.features import INPUT_NAME, open_session
from models.packages.reading import Scored, open_package, score_pictures
from models.settings import Settings
from models.training.job import run_job
from models.training.rescue import Rescue
from tests.models.conftest import Trained, draw_part, make_job, write_parts
from tests.models.made_package import brightness_graph, made_package
from tests.models.test_finishing import found_nothing

KINDS = [DetectorKind.MEMORY_BANK, DetectorKind.MIXED, DetectorKind.CLASSIFIER]


def parts(folder: Path, good: int, defective: int = 0) -> list[TrainingImage]:
    rng = np.random.default_rng(0)
    images = write_parts(folder, rng, good, is_defective=False, use=PartUse.TRAIN)
    return images + write_parts(folder, rng, defective, is_defective=True, use=PartUse.TRAIN)


def progress_of(job: TrainingJob) -> TrainingProgress:
    return decode(TrainingProgress, (Path(job.output_dir) / "progress.json").read_bytes())


@pytest.mark.parametrize("kind", KINDS)
def test_package_is_whole_and_named_by_its_manifest(
    kind: DetectorKind, trained: Callable[[DetectorKind], Trained]
) -> None:
    done = trained(kind)
    package = open_package(done.package)
    assert package.package_id == done.report.package_id
    assert package.manifest.detector is kind
    assert {file.name for file in package.manifest.files} | {"manifest.json"} == {
        path.name for path in done.package.iterdir()
    }
    assert package.manifest.limits.ok_limit <= package.manifest.limits.ng_limit
    assert package.manifest.lineage.sound_parts == 24
    assert progress_of(done.job).state is TrainingState.FINISHED
    written = decode(EvaluationReport, (Path(done.job.output_dir) / "evaluation.json").read_bytes())
    assert written == done.report


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_the_order_in_which_pictures_arrive_changes_nothing(
    kind: DetectorKind, trained: Callable[[DetectorKind], Trained], tmp_path: Path, settings: Settings
) -> None:
    first = trained(kind)
    changes = {"images": first.job.images[::-1], "output_dir": str(tmp_path / "out")}
    again = Trained(first.job.model_copy(update=changes), first.report)
    run_job(again.job, settings, SystemClock())
    for variant in (Variant.INT8_U8S8, Variant.FP32):
        assert open_package(again.package).model(variant) == open_package(first.package).model(variant)


@pytest.mark.parametrize("kind", KINDS)
def test_every_variant_scores_the_golden_images_again(
    kind: DetectorKind, trained: Callable[[DetectorKind], Trained]
) -> None:
    package = open_package(trained(kind).package)
    golden = np.load(package.folder / package.manifest.golden.file, allow_pickle=False)
    assert {entry.variant for entry in package.manifest.variants} == {Variant.INT8_U8S8, Variant.FP32}
    for entry in package.manifest.variants:
        session = open_session(package.model(entry.variant), 1)
        told = session.run(["score"], {INPUT_NAME: golden["images"]})[0]
        stored = golden[f"score_{entry.variant.replace('-', '_')}"]
        np.testing.assert_allclose(told, stored, atol=package.manifest.golden.tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_graph_has_exactly_the_promised_ends(kind: DetectorKind, trained: Callable[[DetectorKind], Trained]) -> None:
    package = open_package(trained(kind).package)
    graph = package.manifest.graph
    for entry in package.manifest.variants:
        session = open_session(package.model(entry.variant), 1)
        (image,) = session.get_inputs()
        assert (image.name, image.type) == (graph.input_name, "tensor(uint8)")
        batch = np.zeros((2, 50, 70, 3), np.uint8)
        score, heatmap, embedding = session.run(["score", "heatmap", "embedding"], {image.name: batch})
        assert (score.shape, score.dtype) == ((2,), np.float32)
        assert heatmap.shape == (2, graph.heatmap_height_px, graph.heatmap_width_px)
        assert embedding.shape == (2, graph.embedding_length)


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_defects_are_caught_and_int8_agrees(
    kind: DetectorKind, trained: Callable[[DetectorKind], Trained]
) -> None:
    report = trained(kind).report
    defective = [verdict for verdict in report.holdout if verdict.judgement is Judgement.DEFECTIVE]
    assert len(report.holdout) == 18
    assert sum(verdict.candidate_verdict is Verdict.OK for verdict in defective) <= 1
    for measured in report.variants:
        assert measured.is_included
        assert measured.image_auroc is not None
        assert measured.image_auroc > 0.95
        assert measured.parity_error is not None
        # In spreads of sound scores, over defective images too, whose scores lie tens of spreads out.
        assert measured.parity_error < 2.0


def test_auto_takes_mixed_from_eight_defective_parts_on(tmp_path: Path, settings: Settings) -> None:
    few = make_job(tmp_path / "few", parts(tmp_path / "a", 12, 7), output_dir=str(tmp_path / "few"))
    assert run_job(few, settings, SystemClock()).detector is DetectorKind.MEMORY_BANK
    enough = make_job(tmp_path, parts(tmp_path / "b", 12, 8), output_dir=str(tmp_path / "enough"))
    assert run_job(enough, settings, SystemClock()).detector is DetectorKind.MIXED


def test_champion_judges_the_same_pictures_at_its_own_limits(
    tmp_path: Path, settings: Settings, trained: Callable[[DetectorKind], Trained]
) -> None:
    champion = trained(DetectorKind.MEMORY_BANK)
    job = champion.job.model_copy(
        update={"champion_dir": str(champion.package), "output_dir": str(tmp_path / "out"), "seed": 5}
    )
    report = run_job(job, settings, SystemClock())
    assert report.champion_package_id == champion.report.package_id
    assert report.champion_image_auroc is not None
    for before, now in zip(champion.report.holdout, report.holdout, strict=True):
        assert before.sha256 == now.sha256
        assert now.champion_score == pytest.approx(before.candidate_score, abs=1e-4)
        assert now.champion_verdict is before.candidate_verdict


def test_broken_pictures_are_named_and_left_out(tmp_path: Path, settings: Settings) -> None:
    images = parts(tmp_path, 16)
    Path(images[0].path).write_bytes(b"not a picture")
    Path(images[1].path).write_bytes(b"")
    Path(images[2].path).unlink()
    report = run_job(make_job(tmp_path, images), settings, SystemClock())
    assert report.train_good == 13
    assert len(report.left_out) == 3
    for image in images[:3]:
        assert any(Path(image.path).name in line for line in report.left_out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\nrubbish", "not a picture|cannot be decoded"),
        (b"hello", "not a picture"),
    ],
)
def test_unreadable_picture_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"x.png: .*({message})"):
        read_picture(path, Settings())


def test_altered_picture_is_not_the_judged_one(tmp_path: Path, settings: Settings) -> None:
    image = parts(tmp_path, 1)[0]
    with pytest.raises(InputError, match="not the judged picture"):
        read_picture(Path(image.path), settings, sha256="0" * 64)


def test_group_on_both_sides_of_the_split_is_refused(tmp_path: Path, settings: Settings) -> None:
    images = parts(tmp_path, 12)
    images.append(images[0].model_copy(update={"use": PartUse.HOLDOUT}))
    with pytest.raises(InputError, match="both sides of the split"):
        run_job(make_job(tmp_path, images), settings, SystemClock())


def test_training_goes_on_without_a_quantized_variant(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise QuantizationError("no kernels today")

    monkeypatch.setattr("models.training.fronts.quantize", refuse)
    report = run_job(make_job(tmp_path, parts(tmp_path, 12)), settings, SystemClock())
    assert report.candidate_variant is Variant.FP32
    assert any("no kernels today" in note for note in report.notes)


@pytest.mark.parametrize(("add", "said"), [(float("nan"), "pictures got no number as a score"), (1e4, "parity error")])
def test_quantized_variant_that_scores_nonsense_is_left_out_and_the_rest_learnt_again(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, add: float, said: str
) -> None:
    calls: list[int] = []

    def strange(*arguments: Any) -> Scored:
        scored = score_pictures(*arguments)
        calls.append(1)
        # Held-out and golden pictures of the first variant.
        return Scored(scored.scores + np.float32(add), scored.infer_p50_ms) if len(calls) <= 2 else scored

    told: list[tuple[str, float]] = []
    monkeypatch.setattr("models.training.judging_variants.score_pictures", strange)
    monkeypatch.setattr("models.training.job.rescue", found_nothing)
    images = parts(tmp_path, 12)
    images += write_parts(tmp_path, np.random.default_rng(1), 3, is_defective=False, use=PartUse.HOLDOUT)
    report = run_job(make_job(tmp_path, images), settings, SystemClock(), watch=lambda *each: told.append(each))
    assert report.candidate_variant is Variant.FP32
    (left_out,) = [each for each in report.variants if not each.is_included]
    assert left_out.variant is Variant.INT8_U8S8
    assert said in left_out.note
    assert (left_out.parity_error is None) == np.isnan(add)
    assert [after for before, after in pairwise(told) if after[1] < before[1]] == [], "never running backwards"
    assert told[-1] == ("finished", 1.0)
    stages = list(dict.fromkeys(stage for stage, _fraction in told))
    assert [each for each in stages if each.startswith("fitting")] == ["fitting", "fitting again, for fp32"]


def test_front_that_keeps_too_little_is_refused_before_anything_is_learnt_on_it(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keeps_little(*_fronts: object, **_named: object) -> float:
        return 0.1

    searched: list[Variant] = []

    def nothing(variant: Variant, *arguments: Any, **named: Any) -> Rescue:
        searched.append(variant)
        return found_nothing(variant, *arguments, **named)

    told: list[str] = []
    monkeypatch.setattr("models.training.job.kept_variance", keeps_little)
    monkeypatch.setattr("models.training.job.rescue", nothing)
    job = make_job(tmp_path, parts(tmp_path, 12))
    report = run_job(job, settings, SystemClock(), watch=lambda stage, _fraction: told.append(stage))
    assert [each for each in dict.fromkeys(told) if each.startswith("fitting")] == ["fitting"]
    assert searched == [Variant.INT8_U8S8]
    assert report.candidate_variant is Variant.FP32
    (left_out,) = [each for each in report.variants if not each.is_included]
    assert "its front keeps 10% of the variance" in left_out.note
    assert any(note.startswith("int8-u8s8: no harmful nodes") for note in report.notes)


def test_champion_that_gives_no_number_decided_nothing_and_has_no_score(tmp_path: Path, settings: Settings) -> None:
    champion = made_package(tmp_path / "champion", {Variant.FP32: brightness_graph(is_broken_above=0)})
    images = parts(tmp_path, 12)
    images += write_parts(tmp_path, np.random.default_rng(1), 3, is_defective=False, use=PartUse.HOLDOUT)
    report = run_job(make_job(tmp_path, images, champion_dir=str(champion)), settings, SystemClock())
    assert report.holdout
    assert {(each.champion_score, each.champion_verdict) for each in report.holdout} == {(None, Verdict.NO_DECISION)}
    assert report.champion_image_auroc is None


def test_stop_between_stages_leaves_no_package(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_arguments: object) -> None:
        raise CancelledError

    monkeypatch.setattr("models.training.results.write_whole", stop)
    job = make_job(tmp_path, parts(tmp_path, 12))
    with pytest.raises(CancelledError):
        run_job(job, settings, SystemClock())
    assert {path.name for path in Path(job.output_dir).iterdir()} == {"progress.json"}
    assert progress_of(job).state is TrainingState.CANCELLED


def test_a_folder_of_results_that_cannot_be_held_is_told_in_one_line_and_never_hangs(
    tmp_path: Path, settings: Settings
) -> None:
    job = make_job(tmp_path, parts(tmp_path, 12))
    lock = Path(job.output_dir) / ".lock"
    lock.mkdir(parents=True)
    with pytest.raises(InputError, match=r"\.lock: cannot be used for the results .*; move it away"):
        run_job(job, settings, SystemClock())
    assert lock.is_dir()


def test_products_of_matrices_take_the_threads_of_the_job_and_no_more(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[int]] = []

    def blas_threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    def stop(*_arguments: object, **_more: object) -> None:
        seen.append(blas_threads())
        raise CancelledError

    monkeypatch.setattr("models.training.job._run", stop)
    for threads in (1, 2):
        job = make_job(tmp_path, parts(tmp_path, 12)).model_copy(update={"threads": threads})
        with threadpool_limits(limits=3, user_api="blas"), pytest.raises(CancelledError):
            run_job(job, settings, SystemClock())
    assert seen == [{1}, {2}]


def test_sigterm_leaves_no_half_package(tmp_path: Path) -> None:
    job = make_job(tmp_path, parts(tmp_path, 60, 12), size_px=256)
    path = tmp_path / "job.json"
    path.write_bytes(encode(job))
    environment = os.environ | {"SIGHTLINE_OFFLINE": "1", "SIGHTLINE_CACHE_DIR": str(tmp_path / "cache")}
    with subprocess.Popen(
        [sys.executable, "-m", "models", "run-job", str(path)], env=environment, stderr=subprocess.PIPE, text=True
    ) as child:
        while child.poll() is None and not (
            (Path(job.output_dir) / "progress.json").exists() and progress_of(job).stage == "extracting features"
        ):
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        _, told = child.communicate()
    assert child.returncode == 143, told
    assert progress_of(job).state is TrainingState.CANCELLED
    assert {entry.name for entry in Path(job.output_dir).iterdir()} == {"progress.json"}


def test_run_job_command_speaks_by_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE_DIR", str(tmp_path / "cache"))
    job = make_job(tmp_path, parts(tmp_path, 12))
    path = tmp_path / "job.json"
    path.write_bytes(encode(job))
    assert decode(TrainingJob, path.read_bytes()) == job
    assert main(["--quiet", "run-job", str(path)]) == 0
    package = Path(job.output_dir) / "package"
    assert main(["inspect", str(package)]) == 0
    assert "package " in capsys.readouterr().out
    (package / "fp32.onnx").write_bytes(b"altered")
    assert main(["inspect", str(package)]) == 2
    assert "fp32.onnx is not the file its manifest names" in capsys.readouterr().err
    assert main(["run-job", str(tmp_path / "none.json")]) == 2
    path.write_text("{}")
    assert main(["run-job", str(path)]) == 2


def test_train_and_evaluate_on_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE_DIR", str(tmp_path / "cache"))
    import cv2  # noqa: PLC0415 -- only this test draws an mvtec folder

    rng = np.random.default_rng(0)
    for name, count in (("train/good", 14), ("test/good", 6), ("test/speck", 6)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(count):
            picture = draw_part(rng, is_defective=name.endswith("speck"))
            cv2.imwrite(str(tmp_path / "set" / name / f"{index:03}.png"), picture)
    where = ["--images", str(tmp_path / "set"), "--layout", "mvtec"]
    out = tmp_path / "out"
    train = ["--quiet", "train", *where, "--product", "plate", "--size", "96", "--threads", "1", "--out", str(out)]
    assert main(train) == 0
    assert "int8-u8s8: AUROC" in capsys.readouterr().out
    figures = tmp_path / "figures.json"
    assert main(["evaluate", "--package", str(out / "package"), *where, "--json", str(figures)]) == 0
    told = json.loads(figures.read_text())
    assert told["variants"]["fp32"]["image_auroc"] > 0.9
    assert main(["train", *where[:2], "--layout", "wrong", "--product", "plate", "--out", str(out)]) == 2
    assert "expected one of mvtec" in capsys.readouterr().err


def test_manifest_survives_a_round_trip(trained: Callable[[DetectorKind], Trained]) -> None:
    content = (trained(DetectorKind.MEMORY_BANK).package / "manifest.json").read_bytes()
    assert encode(decode(PackageManifest, content)) == content


def test_out_folder_that_cannot_be_made_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts(tmp_path / "images" / "good", 12, 0)
    (tmp_path / "afile").write_text("x")
    arguments = ["train", "--images", str(tmp_path / "images"), "--product", "ring", "--out", str(tmp_path / "afile/x")]
    assert main(arguments) == 2
    assert "cannot be made a folder" in capsys.readouterr().err
