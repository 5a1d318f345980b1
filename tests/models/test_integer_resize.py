# SPDX-License-Identifier: Apache-2.0
"""Resizing in bytes: the same bytes as the antialiased Resize, for the sizes it is made for, and no others touched."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from contracts.tiles import Tiles
from contracts.vocabulary import Variant
from models.graphs import quantization
from models.graphs.features import FEATURES_NAME, INPUT_NAME, build_front, open_session
from models.graphs.integer_resize import FACTORS_IN_HALVES, factors_for, is_exact, taps_of, with_integer_resize
from models.graphs.quantization import Quantizer, quantize
from models.graphs.trunks import Trunk, resolve
from models.graphs.writer import GraphWriter
from models.settings import Settings
from tests.models.conftest import SIDE_PX, draw_part
from tests.models.made_package import brightness_graph

Picture = NDArray[np.uint8]
FIELD = SIDE_PX, 2 * SIDE_PX
BYTES = "integer-resize/phases"


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Trunk:
    return resolve(Settings(cache_dir=tmp_path_factory.mktemp("cache"), is_offline=True), "compact", None, [])


def noise(height: int, width: int, count: int = 1) -> Picture:
    """Pictures in which every pixel tells."""
    return np.random.default_rng(height + width).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def pair(trunk: Trunk) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """An INT8 front of a field of 96 × 192 px as the quantizer leaves it, and with its front in bytes."""
    front = build_front(trunk, size_px=SIDE_PX, grid=12, tiles=Tiles(rows=1, columns=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "with_integer_resize", lambda model, _sizes: model)
        before = quantize(front, [*noise(*FIELD, 4)])
    return before, with_integer_resize(before, [(3 * SIDE_PX, 6 * SIDE_PX)])


def told(model: onnx.ModelProto, pictures: Picture, name: str) -> NDArray[np.float32]:
    """A value inside a graph."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    if name != FEATURES_NAME:
        twin.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, None))
    return np.asarray(open_session(twin, 1).run([name], {INPUT_NAME: pictures})[0])


def phases_of(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[n, c, h, w] → [n, 4 c, h / 2, w / 2], the row's phase first, then the column's, then the channel."""
    count, channels, height, width = planes.shape
    blocks = planes.reshape(count, channels, height // 2, 2, width // 2, 2)
    return blocks.transpose(0, 3, 5, 1, 2, 4).reshape(count, 4 * channels, height // 2, width // 2)


def apart(before: onnx.ModelProto, after: onnx.ModelProto, pictures: Picture) -> NDArray[np.int64]:
    """How far the bytes lie from those of the antialiased Resize."""
    (quantizer,) = [node for node in before.graph.node if node.input[0].startswith("sized/") and node.op_type[0] == "Q"]
    wanted = phases_of(told(before, pictures, quantizer.output[0]).astype(np.uint8)).astype(np.int64)
    return np.abs(wanted - told(after, pictures, BYTES).astype(np.int64))


@pytest.mark.parametrize("factor", [*FACTORS_IN_HALVES, 6])
def test_bytes_are_those_of_the_antialiased_resize(pair: tuple[onnx.ModelProto, onnx.ModelProto], factor: int) -> None:
    found = apart(*pair, noise(FIELD[0] * factor // 2, FIELD[1] * factor // 2, 2))
    # A matter of rounding, at the border too.
    assert found.max() <= 1
    assert (found > 0).mean() < 0.005


@pytest.mark.parametrize("side_px", [34, 36])
def test_bytes_are_those_where_four_neighbours_do_not_divide_a_row(side_px: int) -> None:
    weights = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "with_integer_resize", lambda model, _sizes: model)
        before = quantize(_front_of(weights, size_px=side_px, strides=[2, 2]), [*noise(side_px, side_px, 3)])
    assert apart(before, with_integer_resize(before, []), noise(side_px * 5 // 2, side_px * 5 // 2, 2)).max() <= 1


def test_the_size_of_a_picture_picks_its_branch(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    """Another zero point in the branches of bytes changes what is seen of their sizes, and of no others."""
    broken = onnx.ModelProto()
    broken.CopyFrom(pair[1])
    for node in _inner(broken.graph):
        for tensor in [tensor for each in node.attribute for tensor in each.g.initializer]:
            if tensor.name.endswith("/zero"):
                tensor.CopyFrom(numpy_helper.from_array(np.array(50, np.uint8), tensor.name))
    height, width = FIELD
    for factor in (*FACTORS_IN_HALVES, 6):
        assert apart(pair[0], broken, noise(height * factor // 2, width * factor // 2)).max() > 10
    for size in (
        (height, width + 2),
        (height * 2, width),
        (height, width * 2),
        (width, height),
        (height * 3, width * 2),
    ):
        assert apart(pair[0], broken, noise(*size)).max() == 0


@pytest.mark.parametrize("size", [(100, 131), (SIDE_PX, SIDE_PX), (2 * FIELD[1], 2 * FIELD[0])])
def test_other_sizes_are_told_the_same_bits(
    pair: tuple[onnx.ModelProto, onnx.ModelProto], size: tuple[int, int]
) -> None:
    first, second = (told(model, noise(*size, 2), FEATURES_NAME) for model in pair)
    np.testing.assert_array_equal(first, second)


def test_features_are_the_same_for_bytes_that_are(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    """Flat pictures have the same bytes either way, so that only the first convolution's new form is left to differ."""
    pictures = np.full((1, FIELD[0] * 5 // 2, FIELD[1] * 5 // 2, 3), (30, 120, 210), np.uint8)
    first, second = (told(model, pictures, FEATURES_NAME) for model in pair)
    np.testing.assert_array_equal(first, second)
    assert first.std() > 0


@pytest.mark.parametrize(
    ("kernel", "pads"), [(3, [1, 1, 1, 1]), (3, [0, 0, 0, 0]), (3, [0, 0, 2, 2]), (7, [3, 3, 3, 3]), (4, [1, 2, 2, 0])]
)
def test_any_first_convolution_of_stride_two_stays_what_it_was(kernel: int, pads: list[int]) -> None:
    rng = np.random.default_rng(kernel)
    weights = rng.normal(size=(5, 3, kernel, kernel)).astype(np.float32)
    front = _front_of(weights, strides=[2, 2], pads=pads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "with_integer_resize", lambda model, _sizes: model)
        before = quantize(front, [*noise(32, 32, 3)])
    after = with_integer_resize(before, [])
    assert after is not before
    pictures = noise(50, 40, 2)
    first, second = (told(model, pictures, FEATURES_NAME) for model in (before, after))
    np.testing.assert_array_equal(first, second)


def _front_of(weights: NDArray[np.float32], *, size_px: int = 32, **attributes: list[int]) -> onnx.ModelProto:
    """A front with one convolution, whose values are the features."""
    writer = GraphWriter()
    image = writer.input("image", TensorProto.FLOAT, [1, 3, "h", "w"])
    seen = writer.op("Conv", [image, writer.constant(weights)], kernel_shape=[*weights.shape[2:]], **attributes)
    for name in ("stride8", "stride16"):
        writer.output(name, seen, ["n", 5, "h", "w"])
    return build_front(Trunk("one", writer.model("trunk"), "", ""), size_px=size_px, grid=size_px // 8)


def test_a_first_convolution_of_another_kind_is_left_alone() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    for strides, dilations in (([1, 1], [1, 1]), ([2, 2], [2, 2])):
        front = _front_of(weights, strides=strides, dilations=dilations)
        model = quantize(front, [*noise(32, 32, 3)])
        assert not any(node.op_type == "If" for node in model.graph.node)
    odd = quantize(_front_of(weights, size_px=33, strides=[2, 2]), [*noise(33, 33, 3)])
    assert not any(node.op_type == "If" for node in odd.graph.node)


def test_what_is_not_ours_is_left_alone(trunk: Trunk) -> None:
    front, pictures = build_front(trunk, size_px=SIDE_PX, grid=12), [*noise(SIDE_PX, SIDE_PX, 2)]
    assert with_integer_resize(front, []) is front
    elsewhere = onnx.load_from_string(brightness_graph())
    assert with_integer_resize(elsewhere, []) is elsewhere
    signed = quantize(front, pictures, Variant.INT8_S8S8)
    assert not any(node.op_type == "If" for node in signed.graph.node)
    with Quantizer(front, pictures) as quantizer:
        first = next(node.name for node in quantizer.nodes if node.op_type == "Conv")
        assert any(node.op_type == "If" for node in quantizer.quantized().graph.node)
        assert not any(node.op_type == "If" for node in quantizer.quantized(but=[first]).graph.node)


def test_the_commonest_size_comes_first_if_its_weights_are_whole() -> None:
    field = (256, 512)
    assert factors_for([], field) == [*FACTORS_IN_HALVES]
    assert factors_for([(768, 1536)] * 2 + [(640, 1280)], field)[0] == 6
    for none in ((768, 1024), (641, 1280), (128, 256), (900, 1800), (255, 510)):
        assert factors_for([none] * 3, field) == [*FACTORS_IN_HALVES]


def test_factors_are_exact_or_not_offered() -> None:
    assert [factor for factor in range(1, 20) if is_exact(factor)] == [2, 3, 4, 5, 6, 8, 10, 12, 14, 18]
    assert all(is_exact(factor) for factor in FACTORS_IN_HALVES)
    assert taps_of(5).weights.tolist() == [[3, 7, 9, 5, 1, 0, 0], [0, 0, 1, 5, 9, 7, 3]]
    for factor in FACTORS_IN_HALVES:
        assert set(taps_of(factor).weights.sum(1)) == {taps_of(factor).total}


def test_no_two_products_that_are_added_in_sixteen_bits_are_both_there(
    pair: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    """A CPU without VNNI adds neighbouring products of bytes in 16 bits, and stops at 32,767."""
    constants = [
        numpy_helper.to_array(tensor)
        for node in _inner(pair[1].graph)
        for attribute in node.attribute
        for tensor in attribute.g.initializer
        if tensor.name.endswith("/weights")
    ]
    assert len(constants) == len(FACTORS_IN_HALVES) + 1
    for weights in constants:
        # In the order in which they are added: the channel last, and what is left over alone.
        rows = weights.astype(np.int64).transpose(0, 2, 3, 1).reshape(len(weights), -1)
        for first in (0, 1):
            paired = rows[:, first:][:, : (rows.shape[1] - first) // 2 * 2].reshape(len(rows), -1, 2)
            assert 255 * np.abs(paired).sum(2).max() <= 32767


def _inner(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [
        each
        for node in graph.node
        for each in (node, *(inner for attribute in node.attribute for inner in _inner(attribute.g)))
    ]


def test_a_training_makes_graphs_with_it(trunk: Trunk) -> None:
    rng = np.random.default_rng(1)
    front = build_front(trunk, size_px=SIDE_PX, grid=12)
    model = quantize(front, [draw_part(rng, is_defective=False, side_px=SIDE_PX * 3) for _ in range(3)])
    picked = [node for node in model.graph.node if node.op_type == "If"]
    assert [node.name for node in picked] == [f"integer-resize/{3 * SIDE_PX}x{3 * SIDE_PX}/picked"]
