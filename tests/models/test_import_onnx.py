# SPDX-License-Identifier: Apache-2.0
"""`sightline-models import-onnx`: graphs of other tools become packages that a station takes."""

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from contracts.jobs import EVALUATION_NAME
from contracts.vocabulary import DetectorKind, Variant, Verdict
from edge_agent.clock import SystemClock
from edge_agent.packages.activation import Runtime, prepare
from edge_agent.packages.store import StoredPackage
from models.__main__ import main
from models.errors import CancelledError
from models.packages.reading import OpenPackage, open_package
from models.training import import_command
from tests.models import foreign_graphs
from tests.models.foreign_graphs import SIDE_PX
from tests.models.made_package import Plate, draw, write_plates


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """12 sound and 4 defective plates to place limits on, 5 sound and 6 defective held out; layout mvtec."""
    plates = [Plate("train/good", f"t{index}", base=100 + index % 6) for index in range(12)]
    plates += [Plate("train/spot", f"d{index}", 190 + index) for index in range(4)]
    plates += [Plate("test/good", f"g{index}", base=100 + index) for index in range(5)]
    plates += [Plate("test/spot", f"s{index}", 200 + index) for index in range(6)]
    return write_plates(tmp_path / "set", plates)


def brought_in(graph: Path, images: Path, out: Path, *more: str) -> int:
    return main(
        ["--quiet", "import-onnx", str(graph), "--product", "plate", "--images", str(images), "--layout", "mvtec",
         "--threads", "1", "--out", str(out), *more]
    )  # fmt: skip


def run(package: OpenPackage, *pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    session = ort.InferenceSession(package.model(Variant.FP32), providers=["CPUExecutionProvider"])
    names = ["score", "heatmap", "embedding"]
    return dict(zip(names, map(np.asarray, session.run(names, {"image": np.stack(pictures)})), strict=True))


def activated(package: OpenPackage) -> float:
    """Open and self-test as a station does before a package may judge; returns its largest error."""
    stored = StoredPackage(package.package_id, package.manifest, package.folder)
    ready = prepare(stored, Runtime("CPUExecutionProvider"), SystemClock(), lambda: False)
    assert ready is not None
    return ready.tested.worst_error


def test_a_station_takes_an_imported_package_of_scores(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = foreign_graphs.scores(tmp_path / "Export 1.onnx", is_column=True)
    assert brought_in(graph, images, tmp_path / "out") == 0
    package = open_package(tmp_path / "out/package")
    assert activated(package) <= package.manifest.golden.tolerance
    manifest = package.manifest
    assert manifest.detector is DetectorKind.FOREIGN
    assert (manifest.graph.heatmap_height_px, manifest.graph.heatmap_width_px) == (SIDE_PX, SIDE_PX)
    assert manifest.lineage.backbone == "Export 1.onnx"
    assert manifest.golden.images == 8
    told = capsys.readouterr().out
    assert "score: output pred_score" in told
    assert "heatmap: output anomaly_map" in told
    assert "may have learnt from" in told


def test_the_lineage_names_the_file_by_its_digest(images: Path, tmp_path: Path) -> None:
    graph = foreign_graphs.scores(tmp_path / "g.onnx")
    assert brought_in(graph, images, tmp_path / "out") == 0
    lineage = open_package(tmp_path / "out/package").manifest.lineage
    assert lineage.backbone_weights_sha256 == hashlib.sha256(graph.read_bytes()).hexdigest()
    assert (lineage.sound_parts, lineage.defective_parts) == (12, 4)


def test_score_and_heatmap_are_those_of_the_foreign_graph(images: Path, tmp_path: Path) -> None:
    assert brought_in(foreign_graphs.scores(tmp_path / "g.onnx"), images, tmp_path / "out") == 0
    picture, mask = draw(Plate("test/spot", "s1", 201))
    told = run(open_package(tmp_path / "out/package"), picture)
    assert told["score"] == pytest.approx(201 / 255, abs=1e-5)
    assert np.median(told["heatmap"][0][mask > 0]) == pytest.approx(201 / 255, abs=1e-5)
    assert np.median(told["heatmap"][0][mask == 0]) == pytest.approx(100 / 255, abs=1e-5)


def test_limits_promise_what_a_training_promises_of_the_same_scores(images: Path, tmp_path: Path) -> None:
    assert brought_in(foreign_graphs.scores(tmp_path / "g.onnx"), images, tmp_path / "out") == 0
    limits = open_package(tmp_path / "out/package").manifest.limits
    assert 105 / 255 <= limits.ok_limit <= limits.ng_limit < 190 / 255
    assert limits.overkill is not None
    assert (limits.overkill.parts, limits.overkill.missing_parts) == (12, 299 - 12)
    assert limits.escapes is not None
    assert limits.escapes.parts == 4
    assert "scores of the foreign graph" in limits.rule
    assert "cross-fitted" not in limits.rule


def test_figures_are_of_the_held_out_side(images: Path, tmp_path: Path) -> None:
    assert brought_in(foreign_graphs.scores(tmp_path / "g.onnx"), images, tmp_path / "out") == 0
    told = json.loads((tmp_path / "out" / EVALUATION_NAME).read_text())
    assert len(told["holdout"]) == 11
    assert told["variants"][0]["image_auroc"] == 1.0
    caught = [each["candidate_verdict"] for each in told["holdout"] if each["judgement"] == "DEFECTIVE"]
    assert caught == [Verdict.NG] * 6


@pytest.mark.parametrize(("version", "batch"), [(8, 1), (8, "n"), (5, 1), (5, "n")])
def test_a_station_takes_an_imported_package_of_boxes(
    images: Path, tmp_path: Path, version: int, batch: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = foreign_graphs.boxes(tmp_path / "g.onnx", version=version, batch=batch)
    assert brought_in(graph, images, tmp_path / "out") == 0
    package = open_package(tmp_path / "out/package")
    assert activated(package) <= package.manifest.golden.tolerance
    told_of_it = capsys.readouterr().out
    assert "boxes of 2 classes" in told_of_it
    assert "give --fit border" in told_of_it
    picture, _ = draw(Plate("test/spot", "s1", 250))
    told = run(package, picture)
    assert told["score"] == pytest.approx(0.5 * 250 / 255, abs=1e-5)
    heatmap = told["heatmap"][0]
    assert heatmap.shape == (32, 32)
    assert heatmap.max() == pytest.approx(0.5 * 250 / 255, abs=1e-5)
    # The square covers a sixteenth of the picture, from a quarter on; three grids of boxes see it.
    assert heatmap[10, 14] == heatmap.max()
    for place in ((28, 28), (10, 28), (28, 10)):
        assert heatmap[place] == pytest.approx(0.5 * 100 / 255, abs=0.02)


def test_a_dynamic_batch_stays_dynamic_and_a_fixed_one_is_said(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [draw(Plate("x", "a", square))[0] for square in (None, 220)]
    assert brought_in(foreign_graphs.scores(tmp_path / "n.onnx"), images, tmp_path / "n") == 0
    assert "one picture at a time" not in capsys.readouterr().out
    both = run(open_package(tmp_path / "n/package"), *pair)
    assert both["score"] == pytest.approx([100 / 255, 220 / 255], abs=1e-5)
    assert brought_in(foreign_graphs.scores(tmp_path / "1.onnx", batch=1), images, tmp_path / "1") == 0
    assert "one picture at a time" in capsys.readouterr().out
    fixed = ort.InferenceSession(open_package(tmp_path / "1/package").model(Variant.FP32))
    assert fixed.get_inputs()[0].shape[0] == 1


def test_a_graph_that_wants_two_pictures_at_once_judges_one(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As anomalib exports PatchCore by default: [2, 3, h, w], which no station gives."""
    assert brought_in(foreign_graphs.scores(tmp_path / "2.onnx", batch=2), images, tmp_path / "out") == 0
    assert "takes 2 pictures at once and nothing else" in capsys.readouterr().out
    package = open_package(tmp_path / "out/package")
    assert activated(package) <= package.manifest.golden.tolerance
    assert run(package, draw(Plate("x", "a", 220))[0])["score"] == pytest.approx([220 / 255], abs=1e-5)


def test_a_falling_score_is_turned_with_its_heatmap(images: Path, tmp_path: Path) -> None:
    graph = foreign_graphs.scores(tmp_path / "g.onnx", is_falling=True)
    assert brought_in(graph, images, tmp_path / "out", "--sign", "-1") == 0
    told = json.loads((tmp_path / "out" / EVALUATION_NAME).read_text())
    assert told["variants"][0]["image_auroc"] == 1.0
    assert run(open_package(tmp_path / "out/package"), draw(Plate("x", "a", 220))[0])["heatmap"].max() > 0.8


def test_a_score_that_falls_unannounced_is_noticed(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = foreign_graphs.scores(tmp_path / "g.onnx", is_falling=True)
    assert brought_in(graph, images, tmp_path / "out") == 0
    assert "should the sign be -1?" in capsys.readouterr().out


def test_without_a_score_the_highest_place_of_the_map_counts(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = foreign_graphs.scores(tmp_path / "g.onnx", has_score=False)
    assert brought_in(graph, images, tmp_path / "out") == 0
    assert "the highest value of output anomaly_map" in capsys.readouterr().out
    assert run(open_package(tmp_path / "out/package"), draw(Plate("x", "a", 220))[0])["score"] == pytest.approx(
        220 / 255, abs=1e-5
    )


def test_without_a_map_the_score_stands_for_the_picture(images: Path, tmp_path: Path) -> None:
    assert brought_in(foreign_graphs.scores(tmp_path / "g.onnx", has_map=False), images, tmp_path / "out") == 0
    package = open_package(tmp_path / "out/package")
    told = run(package, draw(Plate("x", "a", 220))[0])
    assert told["heatmap"].shape == (1, 1, 1)
    assert told["heatmap"].item() == told["score"].item()
    assert activated(package) <= package.manifest.golden.tolerance


@pytest.mark.parametrize(
    ("colour", "expected"),
    [("bgr", 100 / 2 + 200 / 4 + 200 / 8), ("rgb", 220 / 2 + 200 / 4 + 80 / 8)],
)
def test_pictures_are_prepared_as_the_graph_was_taught(
    images: Path, tmp_path: Path, colour: str, expected: float
) -> None:
    graph = foreign_graphs.scores(tmp_path / "g.onnx", has_map=False)
    options = ["--scale", "1", "--mean", "10,20,30", "--std", "2,4,8", *(["--colour", "bgr"] * (colour == "bgr"))]
    assert brought_in(graph, images, tmp_path / "out", *options) == 0
    picture = np.full((SIDE_PX, SIDE_PX, 3), (110, 220, 230), np.uint8)
    score = run(open_package(tmp_path / "out/package"), picture)["score"].item()
    assert score == pytest.approx(expected / 3, rel=1e-5)


@pytest.mark.parametrize("kind", ["scores", "boxes"])
def test_a_border_keeps_proportions_and_its_heatmap_shows_the_picture_alone(
    images: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "scores":
        graph = foreign_graphs.scores(tmp_path / "g.onnx", is_falling=True)
    else:
        graph = foreign_graphs.boxes(tmp_path / "g.onnx", version=8)
    sign = ["--sign", "-1"] * (kind == "scores")
    assert brought_in(graph, images, tmp_path / "out", "--fit", "border", *sign) == 0
    package = open_package(tmp_path / "out/package")
    assert activated(package) <= package.manifest.golden.tolerance
    # Twice as wide as high: the graph sees it in the middle half, 16 px of grey above and below.
    picture = np.full((64, 128, 3), 40, np.uint8)
    picture[48:, 96:] = 200
    told = run(package, picture)
    share = 1.0 if kind == "scores" else 0.5
    heatmap = told["heatmap"][0] / share
    assert told["score"] == pytest.approx(share * 200 / 255, abs=0.02)
    height, width = heatmap.shape
    assert heatmap[-2, -2] == pytest.approx(200 / 255, abs=0.02)
    if kind == "scores":
        # The border's grey of 114 shows nowhere. Boxes at the edge see it, and say so.
        assert heatmap[: height // 2].mean() == pytest.approx(40 / 255, abs=0.01)
        assert heatmap[-height // 8 :, : width // 2].mean() == pytest.approx(40 / 255, abs=0.01)


def test_an_older_operator_set_gives_the_same_scores(images: Path, tmp_path: Path) -> None:
    for opset in (13, 18):
        graph = foreign_graphs.scores(tmp_path / f"{opset}.onnx", opset=opset)
        assert brought_in(graph, images, tmp_path / str(opset)) == 0
    old, new = (json.loads((tmp_path / name / EVALUATION_NAME).read_text())["holdout"] for name in ("13", "18"))
    assert [each["candidate_score"] for each in old] == pytest.approx([each["candidate_score"] for each in new])


def test_an_imported_package_is_never_said_to_have_learnt_from_the_other_side(images: Path, tmp_path: Path) -> None:
    assert brought_in(foreign_graphs.scores(tmp_path / "g.onnx"), images, tmp_path / "out") == 0
    figures = tmp_path / "figures.json"
    asked = ["evaluate", "--package", str(tmp_path / "out/package"), "--images", str(images), "--layout", "mvtec"]
    assert main(["--quiet", *asked, "--json", str(figures)]) == 0
    told = json.loads(figures.read_text())
    assert told["is_trained_on_the_other_side"] is False
    assert told["variants"]["fp32"]["pixel_auroc"] > 0.9


def test_a_failed_import_leaves_the_earlier_package(images: Path, tmp_path: Path) -> None:
    assert brought_in(foreign_graphs.scores(tmp_path / "g.onnx"), images, tmp_path / "out") == 0
    before = open_package(tmp_path / "out/package").package_id
    assert brought_in(foreign_graphs.scores(tmp_path / "b.onnx", broken_above=0.7), images, tmp_path / "out") == 2
    assert open_package(tmp_path / "out/package").package_id == before
    assert (tmp_path / "out" / EVALUATION_NAME).is_file()
    assert not list((tmp_path / "out").glob(".*"))


def test_a_stopped_import_leaves_nothing(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_path: Path, _content: bytes) -> None:
        raise CancelledError

    monkeypatch.setattr(import_command, "write_whole", stop)
    assert brought_in(foreign_graphs.scores(tmp_path / "g.onnx"), images, tmp_path / "out") == 143
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["progress.json"]


def test_a_disk_that_is_full_at_the_end_leaves_the_earlier_package(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = foreign_graphs.scores(tmp_path / "g.onnx")
    assert brought_in(graph, images, tmp_path / "out") == 0
    before = open_package(tmp_path / "out/package").package_id

    def fail(path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(import_command, "write_whole", fail)
    assert brought_in(graph, images, tmp_path / "out", "--scale", "128") == 2
    assert "the disk is full" in capsys.readouterr().err
    assert open_package(tmp_path / "out/package").package_id == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "package", "evaluation.json", "report.json", "progress.json"
    }  # fmt: skip


def test_a_real_graph_on_real_tiles_passes_a_stations_self_test(real_images: Path, tmp_path: Path) -> None:
    """SqueezeNet of operator set 13, dynamic size, one of its thousand classes as the score: no judge, but a graph."""
    tiles = sorted((real_images / "magnetic_tile/MT_Free/Imgs").glob("*.jpg"))[:12]
    (tmp_path / "tiles/good").mkdir(parents=True)
    for tile in tiles:
        (tmp_path / "tiles/good" / tile.name).write_bytes(tile.read_bytes())
    graph = real_images / "weights/squeezenet1_1.onnx"
    options = ["--layout", "folder", "--size", "224", "--score", "logits:7"]
    options += ["--mean", ".485,.456,.406", "--std", ".229,.224,.225"]
    assert brought_in(graph, tmp_path / "tiles", tmp_path / "out", *options) == 0
    package = open_package(tmp_path / "out/package")
    assert activated(package) <= package.manifest.golden.tolerance
