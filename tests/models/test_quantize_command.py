# SPDX-License-Identifier: Apache-2.0
"""`sightline-models quantize`: further variants by the rules of a training, in a new package, whole or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts.codec import decode
from contracts.jobs import EvaluationReport
from contracts.vocabulary import DetectorKind, Variant
from edge_agent.clock import SystemClock
from edge_agent.packages.activation import Runtime, prepare
from edge_agent.packages.store import StoredPackage
from models.__main__ import main
from models.graphs.features import INPUT_NAME, open_session
from models.packages.reading import OpenPackage, open_package
from tests.models.conftest import draw_part
from tests.models.made_package import brightness_graph, made_package
from tests.models.test_rescue import spoil

Run = Callable[..., int]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `set` in layout mvtec and `out/package`, which has fp32 alone."""
    folder = tmp_path_factory.mktemp("learnt")
    rng = np.random.default_rng(0)
    for name, count in (("train/good", 14), ("test/good", 6), ("test/speck", 6)):
        (folder / "set" / name).mkdir(parents=True)
        for place in range(count):
            picture = draw_part(rng, is_defective=name.endswith("speck"))
            assert cv2.imwrite(str(folder / "set" / name / f"{place:03}.png"), picture)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SIGHTLINE_CACHE_DIR", str(folder / "cache"))
        patched.setenv("SIGHTLINE_OFFLINE", "1")
        code = main(
            ["--quiet", "train", "--images", str(folder / "set"), "--layout", "mvtec", "--product", "plate", "--size",
             "96", "--threads", "1", "--backbone", "compact", "--variants", "fp32", "--out", str(folder / "out")]
        )  # fmt: skip
    assert code == 0
    return folder


@pytest.fixture
def run(learnt: Path, tmp_path: Path) -> Run:
    """The command on that package and folder, into `out` of the test's own folder; further options overrule."""

    def call(*more: str) -> int:
        given = ["--package", str(learnt / "out/package"), "--images", str(learnt / "set"), "--layout", "mvtec"]
        return main(["--quiet", "quantize", *given, "--threads", "1", "--out", str(tmp_path / "out"), *more])

    return call


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def _golden_agrees(package: OpenPackage) -> None:
    golden = np.load(package.folder / package.manifest.golden.file, allow_pickle=False)
    for entry in package.manifest.variants:
        told = open_session(package.model(entry.variant), 1).run(["score"], {INPUT_NAME: golden["images"]})[0]
        stored = golden[f"score_{entry.variant.replace('-', '_')}"]
        np.testing.assert_allclose(told, stored, atol=package.manifest.golden.tolerance)


def test_all_forms_come_into_a_new_package_and_the_old_one_stays(learnt: Path, tmp_path: Path, run: Run) -> None:
    before = _bytes_of(learnt / "out/package")
    assert run("--variants", "all") == 0
    assert _bytes_of(learnt / "out/package") == before
    old, new = open_package(learnt / "out/package"), open_package(tmp_path / "out/package")
    assert [entry.variant for entry in old.manifest.variants] == [Variant.FP32]
    assert {entry.variant for entry in new.manifest.variants} == set(Variant)
    assert new.preferred() is Variant.INT8_U8S8
    assert new.manifest.lineage.parent_package_id == old.package_id
    assert new.manifest.limits == old.manifest.limits
    assert new.model(Variant.FP32) == old.model(Variant.FP32)
    images = [np.load(each.folder / "golden.npz", allow_pickle=False)["images"] for each in (old, new)]
    np.testing.assert_array_equal(*images)
    _golden_agrees(new)
    report = decode(EvaluationReport, (tmp_path / "out/evaluation.json").read_bytes())
    assert report.package_id == new.package_id
    assert len(report.holdout) == 12
    assert sum("another verdict than from fp32; limits are unchanged" in note for note in report.notes) == 3
    assert not any(note.startswith("pictures: the training side") for note in report.notes)


def test_every_form_passes_a_stations_self_test_and_a_cpu_takes_the_one_made_for_it(tmp_path: Path, run: Run) -> None:
    assert run("--variants", "all") == 0
    package = open_package(tmp_path / "out/package")
    stored = StoredPackage(package.package_id, package.manifest, package.folder)
    for variant in Variant:
        ready = prepare(stored, Runtime("CPUExecutionProvider", variant=variant), SystemClock(), lambda: False)
        assert ready is not None
        assert ready.tested.worst_error <= package.manifest.golden.tolerance
    chosen = Runtime("CPUExecutionProvider").choose(package.manifest)
    assert chosen == [Variant.INT8_U8S8, Variant.FP32], "never s8s8 or fp16, which are slower there"


def test_a_graph_that_was_learnt_elsewhere_is_quantized_too(
    real_images: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """SqueezeNet, one of its thousand classes as the score: no judge, but a graph."""
    tiles = sorted((real_images / "magnetic_tile/MT_Free/Imgs").glob("*.jpg"))[:20]
    (tmp_path / "tiles/good").mkdir(parents=True)
    for tile in tiles:
        (tmp_path / "tiles/good" / tile.name).write_bytes(tile.read_bytes())
    pictures = ["--images", str(tmp_path / "tiles"), "--layout", "folder"]
    options = ["--product", "tile", "--size", "96", "--score", "logits:7", "--threads", "1"]
    graph, imported = real_images / "weights/squeezenet1_1.onnx", tmp_path / "imported"
    assert main(["--quiet", "import-onnx", str(graph), *pictures, *options, "--out", str(imported)]) == 0
    assert run("--package", str(imported / "package"), *pictures, "--variants", "fp16,int8-u8s8") == 0
    assert "the training side of this folder" not in capsys.readouterr().out
    package = open_package(tmp_path / "out/package")
    assert package.manifest.detector is DetectorKind.FOREIGN
    assert [entry.variant for entry in package.manifest.variants] == [Variant.INT8_U8S8, Variant.FP32, Variant.FP16]
    _golden_agrees(package)


def test_what_the_rules_refuse_and_no_search_saves_ends_in_2_and_leaves_nothing(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch, all_of_them=True)
    assert run() == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("sightline-models: quantize: none of int8-u8s8 could be made, nothing is written: ")
    assert "parity error" in told
    assert _left(tmp_path / "out") == {"progress.json"}


def test_earlier_results_stay_when_nothing_comes_about(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--variants", "fp16") == 0
    before = _bytes_of(tmp_path / "out/package")
    spoil(monkeypatch, all_of_them=True)
    assert run() == 2
    assert _bytes_of(tmp_path / "out/package") == before
    assert {"evaluation.json", "report.json"} <= _left(tmp_path / "out")


def test_the_page_of_an_earlier_training_goes_with_its_package_and_stays_when_nothing_comes_about(
    learnt: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(learnt / "out", out)
    before = {name: (out / name).read_bytes() for name in ("report.html", "report.json", "evaluation.json")}
    with monkeypatch.context() as patched:
        spoil(patched, all_of_them=True)
        assert run() == 2
    assert {name: (out / name).read_bytes() for name in before} == before
    assert run("--variants", "fp16") == 0
    assert _left(out) == {"package", "evaluation.json", "report.json", "progress.json"}
    assert (
        decode(EvaluationReport, (out / "report.json").read_bytes()).package_id
        == open_package(out / "package").package_id
    )


def test_somebody_elses_page_is_refused_and_stays(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.html").write_text("mine")
    assert run("--variants", "fp16") == 2
    assert "holds report.html, which no training or import left there" in capsys.readouterr().err
    assert (tmp_path / "out/report.html").read_text() == "mine"


def test_a_refused_form_is_left_out_of_a_package_with_the_others(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, all_of_them=True)
    assert run("--variants", "int8-u8s8,fp16") == 0
    package = open_package(tmp_path / "out/package")
    assert [entry.variant for entry in package.manifest.variants] == [Variant.FP32, Variant.FP16]
    told = json.loads((package.folder / "report.json").read_text())
    assert any(note.startswith("int8-u8s8: left out, parity error") for note in told["notes"])
    assert told["searched"]
    assert told["quantized_from"] == package.manifest.lineage.parent_package_id
    report = decode(EvaluationReport, (tmp_path / "out/report.json").read_bytes())
    assert {each.variant: each.is_included for each in report.variants} == {
        Variant.FP16: True, Variant.FP32: True, Variant.INT8_U8S8: False,
    }  # fmt: skip


def test_one_ruined_node_goes_back_to_float(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = spoil(monkeypatch)
    assert run() == 0
    report = decode(EvaluationReport, (tmp_path / "out/report.json").read_bytes())
    saved = next(each for each in report.variants if each.variant is Variant.INT8_U8S8)
    assert 0 < saved.float_nodes <= saved.of_nodes / 2
    assert report.searched[0].worst[0] == spoilt[0]
    _golden_agrees(open_package(tmp_path / "out/package"))


def test_forms_that_are_not_asked_for_stay_as_they_are(tmp_path: Path, run: Run) -> None:
    assert run("--variants", "int8-u8s8") == 0
    first = open_package(tmp_path / "out/package")
    assert run("--package", str(first.folder), "--variants", "fp16", "--out", str(tmp_path / "next")) == 0
    second = open_package(tmp_path / "next/package")
    assert second.manifest.lineage.parent_package_id == first.package_id
    assert second.model(Variant.INT8_U8S8) == first.model(Variant.INT8_U8S8)
    _golden_agrees(second)


def test_pictures_that_the_package_did_not_learn_from_are_pointed_out(
    learnt: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    for place, path in enumerate(sorted((learnt / "set").rglob("*.png"))):
        if place % 5:
            (folder / path.relative_to(learnt / "set")).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(learnt / "set")).write_bytes(path.read_bytes())
    assert run("--images", str(folder), "--variants", "fp16") == 0
    assert "the training side of this folder is not what the package's lineage names" in capsys.readouterr().out


def test_calibration_sees_no_held_out_picture(run: Run, monkeypatch: pytest.MonkeyPatch, learnt: Path) -> None:
    from models.graphs import quantization  # noqa: PLC0415 -- to be patched

    seen: list[bytes] = []
    honest = quantization._Pictures.__init__

    def watch(self: quantization._Pictures, pictures: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> None:
        seen.extend(picture.tobytes() for picture in pictures)
        honest(self, pictures)

    monkeypatch.setattr(quantization._Pictures, "__init__", watch)
    assert run() == 0
    held_out = [cv2.imread(str(path)) for path in (learnt / "set/test").rglob("*.png")]
    trained = [cv2.imread(str(path)) for path in (learnt / "set/train").rglob("*.png")]
    assert seen
    assert not {picture.tobytes() for picture in held_out if picture is not None} & set(seen)
    assert set(seen) <= {picture.tobytes() for picture in trained if picture is not None}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--variants", "int4"], "--variants: expected all, or some of int8-u8s8, int8-s8s8, fp16, fp32"),
        (["--variants", "fp32"], "fp32 is what they are made of"),
        (["--package", "nowhere"], "expected a folder with manifest.json"),
        (["--images", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(
    more: list[str], said: str, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*more) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert "package" not in _left(tmp_path / "out")


def test_the_folder_of_the_package_itself_is_no_place_for_the_new_one(
    learnt: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _bytes_of(learnt / "out/package")
    for out in ("out", "out/package", "out/package/new"):
        assert run("--out", str(learnt / out)) == 2
        assert "holds the package itself" in capsys.readouterr().err
    assert _bytes_of(learnt / "out/package") == before


@pytest.mark.parametrize("has_exact", [True, False])
def test_a_package_without_anything_to_quantize_is_refused(
    has_exact: bool, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = brightness_graph()
    package = made_package(tmp_path / "made", {Variant.FP32 if has_exact else Variant.INT8_U8S8: graph})
    assert run("--package", str(package), "--variants", "all") == 2
    told = capsys.readouterr().err
    assert ("the graph has no node that can be" if has_exact else "no variant fp32") in told


def test_an_altered_package_is_refused(
    learnt: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = tmp_path / "altered"
    altered.mkdir()
    for name, content in _bytes_of(learnt / "out/package").items():
        (altered / name).write_bytes(content + (b"x" if name == "fp32.onnx" else b""))
    assert run("--package", str(altered)) == 2
    assert "fp32.onnx is not the file its manifest names" in capsys.readouterr().err
