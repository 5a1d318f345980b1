# SPDX-License-Identifier: Apache-2.0
"""`sightline-models export`: a bare ONNX file that other tools run, and never a file of somebody else written over."""

import errno
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from contracts.vocabulary import Variant
from models.__main__ import main
from models.packages.reading import open_package
from tests.models.made_package import brightness_graph, made_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    graphs = {Variant.INT8_U8S8: brightness_graph(offset=1), Variant.FP32: brightness_graph()}
    return made_package(tmp_path / "package", graphs)


def export(package: Path, out: Path, variant: str = "fp32") -> int:
    return main(["--quiet", "export", "--package", str(package), "--variant", variant, "--out", str(out)])


def test_the_file_is_the_packages_graph_and_runs_without_us(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/graph.onnx"
    assert export(package, out) == 0
    opened = open_package(package)
    assert out.read_bytes() == opened.model(Variant.FP32)
    onnx.checker.check_model(onnx.load(out))
    told = json.loads((tmp_path / "new/graph.json").read_text())
    session = ort.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [each["name"] for each in told["outputs"]] == [each.name for each in session.get_outputs()]
    (image,) = told["inputs"]
    picture = np.full((1, 40, 50, 3), 80, np.uint8)
    score = session.run(["score"], {image["name"]: picture})[0]
    assert score[0] == pytest.approx(80)
    limits = opened.manifest.limits
    assert (told["limits"]["ok_limit"], told["limits"]["ng_limit"]) == (limits.ok_limit, limits.ng_limit)
    assert (told["package"], told["variant"], image["type"]) == (opened.package_id, "fp32", "uint8")
    assert sorted(path.name for path in out.parent.iterdir()) == ["graph.json", "graph.onnx"]


def test_an_export_may_be_made_again_and_replaced_by_another(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "graph.onnx"
    assert [export(package, out), export(package, out), export(package, out, "int8-u8s8")] == [0, 0, 0]
    assert out.read_bytes() == open_package(package).model(Variant.INT8_U8S8)
    assert json.loads(out.with_suffix(".json").read_text())["variant"] == "int8-u8s8"


@pytest.mark.parametrize("name", ["graph.onnx", "graph.json"])
def test_a_file_of_somebody_else_is_not_written_over(
    name: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    assert export(package, tmp_path / "graph.onnx") == 2
    assert f"{name} is there" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"
    assert {path.name for path in tmp_path.glob("graph.*")} == {name}


@pytest.mark.parametrize("out", ["package/graph.onnx", "package/new/graph.onnx", "other/graph.onnx", "link/graph.onnx"])
def test_a_package_is_no_place_for_an_export(
    out: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_package(tmp_path / "other", {Variant.FP32: brightness_graph()})
    (tmp_path / "link").symlink_to(package)
    before = sorted(tmp_path.rglob("*"))
    assert export(package, tmp_path / out) == 2
    assert "lies in the package" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "page").mkdir()
    (tmp_path / "page/manifest.json").write_text('{"name": "a page of the web"}')
    assert export(package, tmp_path / "page/graph.onnx") == 0, "not every manifest is one of a package"


def test_an_export_that_was_changed_since_is_not_written_over(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "graph.onnx"
    assert export(package, out) == 0
    out.write_bytes(out.read_bytes() + b"tuned")
    assert export(package, out) == 2
    assert out.read_bytes().endswith(b"tuned")


@pytest.mark.parametrize(
    ("out", "variant", "said"),
    [
        ("graph.bin", "fp32", "expected a file .onnx, got 'graph.bin'"),
        ("graph.onnx", "fp16", "no variant fp16; it has int8-u8s8, fp32"),
        ("graph.onnx", "int4", "expected one of int8-u8s8, int8-s8s8, fp16, fp32, got 'int4'"),
        ("folder.onnx", "fp32", "is no file"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    out: str, variant: str, said: str, package: Path, *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert export(package, tmp_path / out, variant) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.glob("graph.*"))


def test_an_altered_graph_is_not_exported(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "fp32.onnx").write_bytes(brightness_graph(offset=3))
    assert export(package, tmp_path / "graph.onnx") == 2
    assert "fp32.onnx is not the file its manifest names" in capsys.readouterr().err
    assert not list(tmp_path.glob("graph.*"))


def test_a_full_disk_leaves_no_half_and_the_earlier_export(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "graph.onnx"
    assert export(package, out) == 0
    before = [path.read_bytes() for path in (out, out.with_suffix(".json"))]
    honest = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if "graph.onnx" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return honest(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert export(package, out, "int8-u8s8") == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert [path.read_bytes() for path in (out, out.with_suffix(".json"))] == before
