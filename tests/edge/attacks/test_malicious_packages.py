# SPDX-License-Identifier: Apache-2.0
"""Packages that are signed and whole, and were made to harm: the packaging key's holder was deceived, or did it."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from contracts.vocabulary import RefusalReason, Variant
from edge_agent.packages.trial import Trial
from tests.edge.attacks.bombs import TEN_GIGABYTES, zeros_npz
from tests.edge.attacks.conftest import Target
from tests.fakes.packages import BuiltPackage, brightness_graph

REASON = RefusalReason


def assign(target: Target, package: BuiltPackage) -> None:
    target.assign(2, {"ring": package.package_id})


def graph_with(change: Any) -> dict[Variant, bytes]:
    """The usual graph after a change of its protobuf, as the only variant."""
    model = onnx.load_from_string(brightness_graph(2.0))
    change(model)
    return {Variant.FP32: model.SerializeToString()}


@pytest.mark.parametrize("location", ["../../../secret.bin", "/etc/passwd", "manifest.json"])
def test_external_data_outside_the_graph_is_refused(target: Target, champion: BuiltPackage, location: str) -> None:
    (target.disk.parent / "secret.bin").write_bytes(b"\0" * 4)

    def point_outside(model: onnx.ModelProto) -> None:
        scale = model.graph.initializer[0]
        scale.ClearField("raw_data")
        scale.ClearField("float_data")
        scale.data_location = TensorProto.EXTERNAL
        scale.external_data.add(key="location", value=location)

    assign(target, target.built("external", graphs=graph_with(point_outside)))
    assert "in another file" in target.assert_refused(champion, REASON.UNREADABLE)


def test_external_data_hidden_in_a_branch_is_refused(target: Target, champion: BuiltPackage) -> None:
    def hide(model: onnx.ModelProto) -> None:
        tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], name="hidden")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../outside")
        inner = helper.make_node("Constant", [], ["value"], value=tensor)
        branch = helper.make_graph([inner], "branch", [], [helper.make_tensor_value_info("value", 1, [1])])
        no = helper.make_node("Constant", [], ["no"], value=helper.make_tensor("n", TensorProto.BOOL, [], [False]))
        choice = helper.make_node("If", ["no"], ["unused"], then_branch=branch, else_branch=branch)
        model.graph.node.extend([no, choice])

    assign(target, target.built("hidden", graphs=graph_with(hide)))
    assert "in another file" in target.assert_refused(champion, REASON.UNREADABLE)


def test_custom_operator_is_refused(target: Target, champion: BuiltPackage) -> None:
    def add_operator(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("evil.example", 1))
        model.graph.node.append(helper.make_node("RunShell", ["score"], ["pwned"], domain="evil.example"))

    assign(target, target.built("custom", graphs=graph_with(add_operator)))
    assert "'evil.example'" in target.assert_refused(champion, REASON.UNREADABLE)


@pytest.mark.usefixtures("on_trial")
def test_graph_that_makes_ten_gigabytes_of_zeros_is_refused(target: Target, champion: BuiltPackage) -> None:
    """Forty bytes of graph; opened in the station's process it would take the machine's memory."""

    def add_zeros(model: onnx.ModelProto) -> None:
        shape = helper.make_tensor("shape", TensorProto.INT64, [1], [TEN_GIGABYTES // 4])
        model.graph.initializer.append(shape)
        model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["zeros"]))
        model.graph.node.append(helper.make_node("ReduceMax", ["zeros"], ["most"], keepdims=0))
        model.graph.node.append(helper.make_node("Add", ["score", "most"], ["score_of_zeros"]))
        model.graph.output[0].name = "score_of_zeros"
        score, zeros = model.graph.output[0], model.graph.output[1]
        assert (score.name, zeros.name) == ("score_of_zeros", "heatmap")

    assign(target, target.built("zeros", graphs=graph_with(add_zeros)))
    assert "more memory than it may take" in target.assert_refused(champion, REASON.TOO_LARGE)


def test_graph_that_never_ends_is_refused(target: Target, champion: BuiltPackage, on_trial: Trial) -> None:
    def loop_for_ever(model: onnx.ModelProto) -> None:
        yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
        model.graph.initializer.append(yes)
        inner = helper.make_node("Identity", ["going"], ["goes_on"])
        step = helper.make_node("Identity", ["value"], ["next_value"])
        body = helper.make_graph(
            [inner, step],
            "body",
            [
                helper.make_tensor_value_info("round", TensorProto.INT64, []),
                helper.make_tensor_value_info("going", TensorProto.BOOL, []),
                helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
            ],
            [
                helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("next_value", TensorProto.FLOAT, None),
            ],
        )
        model.graph.node.append(helper.make_node("Loop", ["", "yes", "score"], ["score_at_last"], body=body))
        model.graph.output[0].name = "score_at_last"

    on_trial._timeout_s = 6.0
    assign(target, target.built("loop", graphs=graph_with(loop_for_ever)))
    assert "no end after 6 s" in target.assert_refused(champion, REASON.SELF_TEST)


def with_golden(target: Target, content: bytes, monkeypatch: pytest.MonkeyPatch) -> BuiltPackage:
    """A published package whose golden set is these bytes."""

    def write(path: Path, **_arrays: object) -> None:
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", write)
        return target.built("golden")


def test_golden_set_of_ten_gigabytes_of_zeros_is_refused(
    target: Target, champion: BuiltPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decompression bomb in the only archive that a package may hold."""
    content = zeros_npz()
    assert len(content) < 2 * 1024 * 1024
    assign(target, with_golden(target, content, monkeypatch))
    target.assert_refused(champion, REASON.TOO_LARGE)


@pytest.mark.parametrize("member", ["../../../../outside.npy", "/outside.npy", "a/b.npy"])
def test_zip_slip_in_the_golden_set_is_refused(
    target: Target, champion: BuiltPackage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, member: str
) -> None:
    whole = io.BytesIO((champion.folder / "golden.npz").read_bytes())
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(member, b"outside")
    assign(target, with_golden(target, whole.getvalue(), monkeypatch))
    assert "expected members NAME.npy" in target.assert_refused(champion, REASON.UNREADABLE)
    assert list(tmp_path.rglob("outside.npy")) == []


@pytest.mark.parametrize("name", ["../../outside.onnx", "/etc/passwd", "a/b.onnx", "..", "manifest.json", "a\\b.onnx"])
def test_path_in_the_manifest_is_refused(target: Target, champion: BuiltPackage, name: str) -> None:
    """A package is no archive: this is what a zip slip is here."""
    files = [{"name": name, "role": "model", "sha256": "0" * 64, "size_bytes": 1}] * 2
    package = target.build("paths", changes={"files": files})
    _publish_unread(target, package)
    assign(target, package)
    target.assert_refused(champion, REASON.UNREADABLE)


def _publish_unread(target: Target, package: BuiltPackage) -> None:
    """Sign the files as they lie: central's own reading of the manifest would refuse them already."""
    from datetime import UTC, datetime  # noqa: PLC0415 - of this step alone

    from tuf.api.metadata import TargetFile  # noqa: PLC0415 - as above

    repository = target.server.repository
    state = repository.state()
    for path in sorted(package.folder.iterdir()):
        repository._copy(path, f"{package.package_id}/{path.name}")
        name = f"ring/{package.package_id}/{path.name}"
        state.listed("product-ring")[name] = TargetFile.from_file(name, str(path), ["sha256"])
    repository._write(state, {"product-ring"}, datetime.now(UTC))


class Runs:
    """Unpickled, it makes a file: code of the attacker's that ran."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self._mark,)


def test_pickle_in_the_golden_set_is_refused(
    target: Target, champion: BuiltPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, mark = io.BytesIO(), target.disk.parent / "ran"
    np.savez(content, images=np.array([Runs(mark)], dtype=object), score_fp32=np.zeros(1, np.float32))
    assign(target, with_golden(target, content.getvalue(), monkeypatch))
    target.assert_refused(champion, REASON.UNREADABLE)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"not a graph", b"", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x02\x0a\x7f" * 20])
def test_file_that_is_no_graph_is_refused(target: Target, champion: BuiltPackage, content: bytes) -> None:
    if not content:
        content = b"\x00"
    assign(target, target.built("nograph", graphs={Variant.FP32: content}))
    target.assert_refused(champion, REASON.UNREADABLE)


def test_package_whose_scores_are_not_the_trainers_is_refused(target: Target, champion: BuiltPackage) -> None:
    assign(target, target.built("bad", graphs={Variant.FP32: brightness_graph(1.5)}, scale=1.0))
    target.assert_refused(champion, REASON.SELF_TEST)
