# SPDX-License-Identifier: Apache-2.0
"""Numeric forms of a trunk: which nodes are quantized, how harm is ranked, what stays in float."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from contracts.vocabulary import Variant
from models.errors import CancelledError, QuantizationError
from models.graphs.accuracy_control import SHARES, Damage, Unit, names_of, rank, steps_of, units_of
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.half import halved
from models.graphs.quantization import INT8, Quantizer, quantize, trunk_of
from models.graphs.trunks import resolve
from models.settings import Settings
from tests.models.conftest import SIDE_PX, draw_part
from tests.models.made_package import brightness_graph


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The shipped trunk's front."""
    settings = Settings(cache_dir=tmp_path_factory.mktemp("cache"), is_offline=True)
    return build_front(resolve(settings, "compact", None, []), size_px=SIDE_PX, grid=12)


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    return [draw_part(rng, is_defective=row % 4 == 0) for row in range(8)]


def _node(kind: str, name: str, inputs: list[str]) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [f"{name}.out"], name=name)


def test_an_activation_goes_with_the_one_node_it_follows() -> None:
    nodes = [
        _node("Conv", "a", ["x"]),
        _node("Relu", "b", ["a.out"]),
        _node("Conv", "c", ["b.out"]),
        _node("Relu", "d", ["c.out"]),
        _node("Add", "e", ["c.out", "d.out"]),
    ]
    assert [unit.names for unit in units_of(nodes)] == [("a", "b"), ("c",), ("d",), ("e",)]


def test_a_long_graph_is_ranked_in_a_bounded_number_of_units() -> None:
    nodes = [_node("Conv", f"n{row}", [f"x{row}"]) for row in range(200)]
    units = units_of(nodes)
    assert len(units) <= 48
    assert names_of(units) == [node.name for node in nodes]


def test_the_worst_come_first_and_equal_ones_in_the_graphs_order() -> None:
    harm = {"a": 1.0, "b": 3.0, "c": 1.0}
    shares: list[float] = []
    ranked = rank([Unit((name,)) for name in harm], lambda names: harm[names[0]], shares.append)
    assert names_of(ranked) == ["b", "a", "c"]
    assert shares == [1 / 3, 2 / 3, 1.0]


def test_steps_grow_and_leave_at_least_half_of_the_nodes_quantized() -> None:
    for count in (1, 2, 3, 7, 36, 47):
        steps = steps_of([Unit((str(row),)) for row in range(count)])
        sizes = [len(step) for step in steps]
        assert sizes == sorted(set(sizes))
        assert len(sizes) <= len(SHARES)
        assert all(1 <= size <= count / 2 for size in sizes)
    assert [len(step) for step in steps_of([Unit((str(row),)) for row in range(36)])] == [1, 3, 5, 9, 18]
    paired = [Unit(("a", "b")), Unit(("c",)), Unit(("d", "e")), Unit(("f",))]
    assert [names_of(step) for step in steps_of(paired)] == [["a", "b"], ["a", "b", "c"]], "at most 3 of 6 nodes"


def test_a_common_shift_of_all_scores_is_no_damage_and_no_number_is_the_worst(
    pictures: list[NDArray[np.uint8]],
) -> None:
    damage = Damage(brightness_graph(), pictures, 1)
    assert damage.of(brightness_graph(offset=20)) == pytest.approx(0, abs=1e-4)
    nan = onnx.load_model_from_string(brightness_graph())
    spoilt = helper.make_tensor("nan", TensorProto.FLOAT, [], [float("nan")])
    nan.graph.initializer.append(spoilt)
    last = next(node for node in nan.graph.node if node.output[0] == "heatmap")
    nan.graph.node.insert(len(nan.graph.node) - 1, _node("Add", "spoil", [last.input[0], "nan"]))
    last.input[0] = "spoil.out"
    nan.graph.node.remove(last)
    nan.graph.node.append(last)
    assert damage.of(nan.SerializeToString()) == np.inf


def test_named_nodes_stay_in_float_and_the_others_are_quantized(
    front: onnx.ModelProto, pictures: list[NDArray[np.uint8]]
) -> None:
    with Quantizer(front, pictures) as quantizer:
        convolutions = [node.name for node in quantizer.nodes if node.op_type == "Conv"]
        mixed = quantizer.quantized(but=convolutions[:2])
    quantized = {node.output[0] for node in mixed.graph.node if node.op_type == "DequantizeLinear"}
    told = {node.name: node.input[1] in quantized for node in mixed.graph.node if node.name in convolutions}
    assert told == {name: name not in convolutions[:2] for name in convolutions}


@pytest.mark.parametrize("variant", INT8)
def test_int8_has_the_activations_that_its_stations_know(
    variant: Variant, front: onnx.ModelProto, pictures: list[NDArray[np.uint8]]
) -> None:
    """uint8 for CPUs; int8 around zero for TensorRT and NPUs."""
    model = quantize(front, pictures, variant)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = [constants[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    wanted = np.uint8 if variant is Variant.INT8_U8S8 else np.int8
    assert zeros
    assert {zero.dtype.type for zero in zeros} == {wanted}
    if variant is Variant.INT8_S8S8:
        assert not any(zero.any() for zero in zeros)


def test_half_changes_the_trunk_alone_and_hardly_what_it_says(
    front: onnx.ModelProto, pictures: list[NDArray[np.uint8]]
) -> None:
    half = halved(front)
    inside = {node.name for node in trunk_of(half)}
    element = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    for node in half.graph.node:
        halves = [name for name in node.input if element.get(name) == TensorProto.FLOAT16]
        floats = [name for name in node.input if element.get(name) == TensorProto.FLOAT]
        assert not (floats if node.name in inside else halves), node.name
    assert any(element[name] == TensorProto.FLOAT16 for name in element)
    assert half.ByteSize() < 0.6 * front.ByteSize()
    exact, told = (
        FeatureExtractor(model, threads=1).extract(pictures, len(pictures)).astype(np.float32)
        for model in (front, half)
    )
    assert 0 < np.abs(told - exact).max() < 0.02 * exact.std()


@pytest.mark.parametrize("variant", [Variant.INT8_U8S8, Variant.FP16])
def test_a_graph_with_nothing_to_quantize_is_refused(variant: Variant, pictures: list[NDArray[np.uint8]]) -> None:
    model = onnx.load_model_from_string(brightness_graph())
    with pytest.raises(QuantizationError, match="no node that can be"):
        halved(model) if variant is Variant.FP16 else quantize(model, pictures)


def test_a_stop_during_the_ranking_is_heard() -> None:
    def stop(_share: float) -> None:
        raise CancelledError

    asked: list[str] = []

    def damage_of(names: object) -> float:
        asked.append(str(names))
        return 0.0

    with pytest.raises(CancelledError):
        rank([Unit(("a",)), Unit(("b",))], damage_of, stop)
    assert len(asked) == 1
