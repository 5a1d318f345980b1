# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file from outside may not do: each ends in one line that names it, and leaves nothing behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.__main__ import main
from models.errors import InputError
from models.graphs.foreign import Preparation, Wrapped, wrap
from models.graphs.foreign_outputs import Asked
from models.graphs.opening import Foreign, open_foreign
from models.settings import Settings
from models.training import import_command
from tests.models import foreign_graphs
from tests.models.foreign_graphs import SIDE_PX, saved
from tests.models.made_package import Plate, write_plates

FLOAT = TensorProto.FLOAT
MOST_BYTES = 1_000_000


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four sound plates to place limits on, one sound and one defective held out."""
    plates = [Plate("train/good", f"t{index}", base=100 + index) for index in range(4)]
    return write_plates(tmp_path / "set", [*plates, Plate("test/good", "g"), Plate("test/spot", "s", 200)])


@pytest.fixture
def refused(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Imports a graph, expects exit code 2 and one line, and that the output folder holds no results."""

    def refuse(graph: Path, *more: str) -> str:
        code = main(
            ["--quiet", "import-onnx", str(graph), "--product", "plate", "--images", str(images), "--layout", "mvtec",
             "--threads", "1", "--out", str(tmp_path / "out"), *more]
        )  # fmt: skip
        told = capsys.readouterr().err
        assert code == 2, told
        assert told.count("\n") == 1
        left = [path.name for path in (tmp_path / "out").iterdir()] if (tmp_path / "out").exists() else []
        assert set(left) <= {"progress.json"}
        return told

    return refuse


def with_weights(folder: Path, location: str, *, length: int = 12, is_nested: bool = False) -> Path:
    """A graph whose colours are weighed by a tensor that lies in another file."""
    folder.mkdir(exist_ok=True)
    tensor = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Mul", ["images", "weights"], ["weighed"]),
        helper.make_node("ReduceMax", ["weighed", "axes"], ["score"], keepdims=0),
    ]
    constants = [numpy_helper.from_array(np.array([1, 2, 3]), "axes")]
    if is_nested:
        nodes.insert(0, helper.make_node("Constant", [], ["weights"], value=tensor))
    else:
        constants.append(tensor)
    return saved(folder / "g.onnx", nodes, [("score", FLOAT)], constants=constants)


def test_weights_beside_the_graph_are_packed(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = with_weights(tmp_path / "in", "g.onnx.data")
    (tmp_path / "in/g.onnx.data").write_bytes(np.array([3, 3, 3], np.float32).tobytes())
    code = main(
        ["--quiet", "import-onnx", str(graph), "--product", "plate", "--images", str(images), "--layout", "mvtec",
         "--threads", "1", "--out", str(tmp_path / "out")]
    )  # fmt: skip
    assert code == 0
    assert "weights were taken from g.onnx.data" in capsys.readouterr().out
    packed = onnx.load_model_from_string((tmp_path / "out/package/fp32.onnx").read_bytes())
    values = {each.name: each for each in packed.graph.initializer}
    assert numpy_helper.to_array(values["foreign/inside/weights"]).ravel().tolist() == [3, 3, 3]


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("location", ["../secret", "{folder}/secret", "link", "", ".", "a/../../secret"])
def test_weights_outside_the_folder_are_never_read(
    refused: Callable[..., str], tmp_path: Path, location: str, is_nested: bool
) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 12)
    graph = with_weights(tmp_path / "in", location.format(folder=tmp_path), is_nested=is_nested)
    (tmp_path / "in/link").symlink_to(tmp_path / "secret")
    assert "expected weights in its own folder" in refused(graph)


def test_weights_that_are_missing_or_too_short_are_named(refused: Callable[..., str], tmp_path: Path) -> None:
    graph = with_weights(tmp_path / "in", "w.bin")
    assert "in/w.bin: cannot be read" in refused(graph)
    (tmp_path / "in/w.bin").write_bytes(b"x" * 8)
    assert "lie beyond the end of 'w.bin'" in refused(graph)


def test_the_digest_covers_the_weights_beside_the_graph(tmp_path: Path) -> None:
    graph = with_weights(tmp_path / "in", "w.bin")
    digests = set()
    for fill in (b"x", b"y"):
        (tmp_path / "in/w.bin").write_bytes(fill * 12)
        digests.add(open_foreign(graph, most_bytes=MOST_BYTES).sha256)
    assert len(digests) == 2


def test_a_file_and_its_weights_together_are_bounded(tmp_path: Path) -> None:
    graph = with_weights(tmp_path / "in", "w.bin")
    (tmp_path / "in/w.bin").write_bytes(b"x" * 12)
    size = graph.stat().st_size
    assert open_foreign(graph, most_bytes=size + 12).file_name == "g.onnx"
    with pytest.raises(InputError, match=r"w\.bin: expected at most 11 bytes, got 12"):
        open_foreign(graph, most_bytes=size + 11)
    with pytest.raises(InputError, match=rf"g\.onnx: expected at most {size - 1} bytes, got {size}"):
        open_foreign(graph, most_bytes=size - 1)


def test_the_command_bounds_the_file(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_command, "read_settings", lambda: replace(Settings(), max_weights_bytes=100))
    assert "expected at most 100 bytes" in refused(foreign_graphs.scores(tmp_path / "g.onnx"))


@pytest.mark.parametrize("content", [b"hello, I am no graph", b"\x89PNG\r\n", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_onnx_file_is_said_to_be_none(refused: Callable[..., str], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    assert "g.onnx: not an ONNX file" in refused(tmp_path / "g.onnx")


def test_an_empty_or_missing_file_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "g.onnx").touch()
    assert "g.onnx: the file is empty" in refused(tmp_path / "g.onnx")
    assert "none.onnx: cannot be read" in refused(tmp_path / "none.onnx")
    assert "a folder, not an ONNX file" in refused(tmp_path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_wherever_it_breaks_off(
    refused: Callable[..., str], tmp_path: Path, share: float
) -> None:
    content = foreign_graphs.boxes(tmp_path / "whole.onnx", version=8).read_bytes()
    (tmp_path / "g.onnx").write_bytes(content[: int(len(content) * share)])
    assert "g.onnx" in refused(tmp_path / "g.onnx")


def test_an_operator_of_somebody_elses_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    nodes = [helper.make_node("Magic", ["images"], ["score"], domain="my.shop")]
    told = refused(saved(tmp_path / "g.onnx", nodes, [("score", FLOAT)], domains=["my.shop"]))
    assert "my.shop:Magic" in told
    assert "standard operators" in told


def test_a_score_that_is_no_number_names_the_picture(refused: Callable[..., str], tmp_path: Path) -> None:
    told = refused(foreign_graphs.scores(tmp_path / "g.onnx", broken_above=0.7))
    assert "NaN or infinity on test/spot/s.png" in told
    assert "on a sound picture" in refused(foreign_graphs.scores(tmp_path / "g.onnx", broken_above=0.1))


def test_a_graph_that_fails_while_it_runs_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["images", "shape"], ["flat"]),
        helper.make_node("ReduceMax", ["flat"], ["score"], keepdims=0),
    ]
    shape = numpy_helper.from_array(np.array([7, -1]), "shape")
    graph = saved(tmp_path / "g.onnx", nodes, [("score", FLOAT)], constants=[shape])
    told = refused(graph)
    assert "g.onnx" in told
    assert "failed on a picture" in told or "cannot open" in told


def test_one_score_for_every_picture_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["images", "zero"], ["nothing"]),
        helper.make_node("ReduceMax", ["nothing", "axes"], ["score"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
    ]
    told = refused(saved(tmp_path / "g.onnx", nodes, [("score", FLOAT)], constants=constants))
    assert "every one of 6 pictures the score 0" in told


def test_outputs_that_cannot_be_told_apart_are_listed(refused: Callable[..., str], tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMax", ["images", "axes"], ["a"], keepdims=0)]
    nodes.append(helper.make_node("ReduceMin", ["images", "axes"], ["b"], keepdims=0))
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    graph = saved(tmp_path / "g.onnx", nodes, [("a", FLOAT), ("b", FLOAT)], constants=[axes])
    told = refused(graph)
    assert "a float32 [1], b float32 [1]" in told
    assert "--score NAME" in told
    assert "'c' is not among a float32 [1]" in refused(graph, "--score", "c")
    assert "--heatmap a is no map" in refused(graph, "--score", "b", "--heatmap", "a")


def test_several_numbers_a_picture_need_a_column(
    refused: Callable[..., str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("ReduceMax", ["images", "axes"], ["logits"], keepdims=0)]
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    graph = saved(tmp_path / "g.onnx", nodes, [("logits", FLOAT)], constants=[axes])
    assert "NAME:COLUMN" in refused(graph)
    assert "give logits:COLUMN" in refused(graph, "--score", "logits")
    assert "give logits:COLUMN" in refused(graph, "--score", "logits:3")
    code = main(
        ["--quiet", "import-onnx", str(graph), "--product", "plate", "--images", str(images), "--layout", "mvtec",
         "--threads", "1", "--out", str(tmp_path / "out"), "--score", "logits:2"]
    )  # fmt: skip
    assert code == 0
    assert "output logits, column 2" in capsys.readouterr().out


def test_confidences_that_are_none_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    graph = foreign_graphs.boxes(tmp_path / "g.onnx", version=8, confidence=40.0)
    assert "confidences of 0 … 1" in refused(graph)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (("n", 3, SIDE_PX), "four dimensions"),
        (("n", 1, SIDE_PX, SIDE_PX), "three colours"),
        ((9, 3, SIDE_PX, SIDE_PX), "fixed batch of 9"),
        (("n", 3, "h", "w"), "--size: g.onnx takes any size"),
        (("n", 3, 100_000, 100_000), "expected to see 32 … 4096 px a side"),
    ],
)
def test_an_input_that_is_no_picture_is_refused(
    refused: Callable[..., str], tmp_path: Path, shape: tuple[int | str, ...], told: str
) -> None:
    nodes = [helper.make_node("ReduceMax", ["images", "axes"], ["score"], keepdims=0)]
    axes = numpy_helper.from_array(np.arange(1, len(shape)), "axes")
    graph = saved(tmp_path / "g.onnx", nodes, [("score", FLOAT)], constants=[axes], shape=shape)
    assert told in refused(graph)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--size", "12"), "--size: expected 32"),
        (("--size", "96"), "sees 64 × 64 px and nothing else"),
        (("--std", "0"), "--std: expected more than 0"),
        (("--mean", "1,2"), "--mean: expected one number, or three"),
        (("--scale", "nan"), "--scale: expected more than 0"),
        (("--kind", "words"), "--kind: expected one of"),
        (("--product", "A b"), "--product: expected small letters"),
        (("--layout", "folder"), "images: layout folder"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    refused: Callable[..., str], tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    assert told in refused(foreign_graphs.scores(tmp_path / "g.onnx"), *options)


def test_a_dynamic_size_is_the_one_that_is_asked_for(images: Path, tmp_path: Path) -> None:
    graph = foreign_graphs.scores(tmp_path / "g.onnx", side="s")
    code = main(
        ["--quiet", "import-onnx", str(graph), "--product", "plate", "--images", str(images), "--layout", "mvtec",
         "--threads", "1", "--out", str(tmp_path / "out"), "--size", "96x48"]
    )  # fmt: skip
    assert code == 0
    manifest = (tmp_path / "out/package/manifest.json").read_text()
    assert '"heatmap_height_px":48' in manifest.replace(" ", "")
    assert '"model_width_px":96' in manifest.replace(" ", "")


def test_a_folder_with_somebody_elses_results_is_kept(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/report.json").write_text("mine")
    told = refused(foreign_graphs.scores(tmp_path / "g.onnx"), "--out", str(tmp_path / "elsewhere"))
    assert "holds report.json, which no training or import left there" in told
    assert (tmp_path / "elsewhere/report.json").read_text() == "mine"


def test_foreign_is_no_way_to_train(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["train", "--images", str(images), "--layout", "mvtec", "--product", "plate", "--detector", "foreign"]
    assert main(["--quiet", *asked, "--backbone", "compact", "--size", "64", "--out", str(tmp_path / "out")]) == 2
    assert "foreign" in capsys.readouterr().err


def test_a_raised_operator_set_that_changes_the_outputs_is_refused(tmp_path: Path) -> None:
    graph, other = (
        open_foreign(foreign_graphs.scores(tmp_path / name, opset=13, is_falling=is_falling), most_bytes=MOST_BYTES)
        for name, is_falling in (("g.onnx", False), ("h.onnx", True))
    )
    picture = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)

    def wrapped(foreign: Foreign) -> Wrapped:
        return wrap(foreign, picture, size_hw=None, prepared=Preparation(), asked=Asked(), is_falling=False, threads=1)

    assert wrapped(graph).size_hw == (SIDE_PX, SIDE_PX)
    with pytest.raises(InputError, match="changes when the operator set is raised"):
        wrapped(replace(graph, before=other.before))
