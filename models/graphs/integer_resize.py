# SPDX-License-Identifier: Apache-2.0
"""Resizing as one convolution of bytes, for pictures that are larger than the field by a known factor.

Linear resizing with antialiasing is a convolution with a triangle (half_pixel, as ONNX's Resize), and for factors in
halves it repeats every two pixels of the field: four phases, each with weights that are small whole numbers. Order of
channels, mean, spread and the first quantization go into the scales, so that the bytes of the picture become the bytes
that the trunk's first convolution reads, without a float between. The phases stay channels: of stride 2 that
convolution becomes one of stride 1 over 12 channels, the same products. Pictures of any other size take the way they
always did, by an `If` on the picture's size.

Changes INT8 graphs of uint8 activations only, and leaves alone what does not look like `features.write_field` before
such a convolution. Decides no sizes beyond `FACTORS_IN_HALVES`. Called by `quantization`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.graphs.features import INPUT_NAME
from models.graphs.writer import UINT8

# 1, 2.5, 2 and 4 times the field: 256, 640, 512 and 1024 px for 256. Each takes 10 to 50 kB of the graph.
FACTORS_IN_HALVES: Final = (2, 5, 4, 8)
_PHASES: Final = 2
# Neighbours of one row that come of one product: fewer and longer pieces of the picture to gather, for products with 0.
# 640 to 256 px, one thread with VNNI: 0.92 ms with one, 0.66 with two, 0.62 with four, 0.68 with eight.
_NEIGHBOURS: Final = (4, 2, 1)
_CHANNELS: Final = 3
# Neighbouring weights are of different channels, all but one of them 0, so that a CPU without VNNI, which adds two
# products in 16 bits, cannot saturate: 255 × 127 fits.
_MOST_WEIGHT: Final = 127
_SIZED: Final = ("QuantizeLinear", "Mul", "Sub", "Gather", "Resize", "Transpose", "Cast")
_SCOPE: Final = "integer-resize"


@dataclass(frozen=True)
class Taps:
    """Weights of both phases along one axis.

    Attributes:
        first: place of the first weight, px of the picture, where the first of the two pixels of the field begins at 0.
        weights: whole numbers [2, k].
        total: what each phase's add up to.
    """

    first: int
    weights: NDArray[np.int64]
    total: int


def taps_of(factor_in_halves: int) -> Taps:
    """The triangle of ONNX's antialiased linear Resize for one factor, as the smallest whole numbers.

    Pixel i of the field lies at (i + 1/2) f − 1/2 of the picture, and pixel k there counts by 1 − |k − place| / f. With
    f in halves places are in quarters, so 4 f times that is whole.
    """
    places = [(2 * phase + 1) * factor_in_halves - 2 for phase in range(_PHASES)]  # In quarters of a pixel.
    reach = 2 * factor_in_halves
    first = (places[0] - reach) // 4 + 1
    last = -(-(places[-1] + reach) // 4) - 1
    weights = np.array([[max(0, reach - abs(4 * k - place)) for k in range(first, last + 1)] for place in places])
    weights //= np.gcd.reduce(weights, axis=None)
    return Taps(first, weights, int(weights[0].sum()))


def is_exact(factor_in_halves: int) -> bool:
    """Whether the weights of both axes together are whole numbers that a byte holds."""
    return factor_in_halves >= _PHASES and int(taps_of(factor_in_halves).weights.max()) ** 2 <= _MOST_WEIGHT


def factors_for(sizes: Iterable[tuple[int, int]], field: tuple[int, int]) -> list[int]:
    """Factors in halves to prepare for, the commonest size's first where it is one of a kind that can be.

    Args:
        sizes: height and width of pictures that are like those to come.
        field: height and width of the field.
    """
    counts: dict[int, int] = {}
    for height, width in sizes:
        factor = _PHASES * height // field[0]
        if (height * _PHASES, width * _PHASES) == (factor * field[0], factor * field[1]) and is_exact(factor):
            counts[factor] = counts.get(factor, 0) + 1
    commonest = [max(counts, key=lambda factor: counts[factor])] if counts else []
    return list(dict.fromkeys([*commonest, *FACTORS_IN_HALVES]))


@dataclass(frozen=True)
class _Place:
    """Where a graph sizes its picture and reads it first."""

    sized: list[onnx.NodeProto]
    field: tuple[int, int]
    mean: NDArray[np.float64]
    gain: NDArray[np.float64]
    order: list[int]
    quantizer: onnx.NodeProto
    reader: onnx.NodeProto
    conv: onnx.NodeProto
    weights: TensorProto


def with_integer_resize(model: onnx.ModelProto, sizes: Iterable[tuple[int, int]]) -> onnx.ModelProto:
    """The same graph, faster for pictures of a few sizes; itself where its front is another than ours.

    Args:
        model: INT8 with uint8 activations, as QDQ; a front or a whole package graph.
        sizes: height and width, px, of pictures that are like those to come, such as the ones it was calibrated on.
    """
    place = _place_of(model)
    if place is None:
        return model
    phased = _phased(place.conv, numpy_helper.to_array(place.weights))
    if phased is None:
        return model
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    weights, shape = phased
    for tensor in twin.graph.initializer:
        if tensor.name == place.weights.name:
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    gone = {node.name for node in place.sized}
    kept = [node for node in twin.graph.node if node.name not in gone]
    for node in kept:
        if node.name == place.conv.name:
            others = [each for each in node.attribute if each.name not in shape]
            del node.attribute[:]
            node.attribute.extend([*others, *(helper.make_attribute(name, value) for name, value in shape.items())])
        if node.name == place.reader.name:
            node.input[0] = f"{_SCOPE}/phases"
    branches = _Branches(place)
    sized = branches.chosen(factors_for(sizes, place.field))
    turned = helper.make_node("Transpose", [sized], [f"{_SCOPE}/phases"], perm=[0, 3, 1, 2], name=f"{_SCOPE}/phases")
    del twin.graph.node[:]
    twin.graph.node.extend([*branches.nodes, turned, *kept])
    twin.graph.initializer.extend(branches.constants)
    # What the quantizer's shape inference left there speaks of values that are gone.
    known = {name for node in twin.graph.node for name in node.output}
    told = [value for value in twin.graph.value_info if value.name in known]
    del twin.graph.value_info[:]
    twin.graph.value_info.extend(told)
    onnx.checker.check_model(twin)
    return twin


def _place_of(model: onnx.ModelProto) -> _Place | None:
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def only_reader(node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        found = readers.get(node.output[0], [])
        return found[0] if len(found) == 1 and found[0].op_type == kind else None

    for node in graph.node:
        chain = _chain(node, makers)
        if chain is None:
            continue
        quantizer, scaled, centred, ordered, resized, _turned, _cast = chain
        reader = only_reader(quantizer, "DequantizeLinear")
        conv = None if reader is None else only_reader(reader, "Conv")
        sizes = makers.get(resized.input[3]) if len(resized.input) > 3 else None
        outer = None if sizes is None else makers.get(sizes.input[0])
        source = None if conv is None else makers.get(conv.input[1])
        named = [scaled.input[1], centred.input[1], ordered.input[1], quantizer.input[1], quantizer.input[2]]
        if reader is None or conv is None or sizes is None or outer is None or source is None:
            return None
        named += [sizes.input[1], source.input[0]]
        if source.op_type != "DequantizeLinear" or any(name not in constants for name in named):
            return None
        gain, mean, order, _scale, zero, field, _weights = (numpy_helper.to_array(constants[name]) for name in named)
        if zero.dtype != np.uint8 or field.shape != (2,) or (field % _PHASES).any():
            return None
        names = {each.name for each in (*chain, outer, sizes)}
        return _Place(
            [each for each in graph.node if each.name in names], (int(field[0]), int(field[1])),
            mean.reshape(-1).astype(np.float64), gain.reshape(-1).astype(np.float64), [int(each) for each in order],
            quantizer, reader, conv, constants[source.input[0]],
        )  # fmt: skip
    return None


def _chain(last: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto] | None:
    """The nodes from a quantizer back to the picture, if they are those that size it."""
    chain = [last]
    for kind in _SIZED[1:]:
        before = makers.get(chain[-1].input[0])
        if before is None or before.op_type != kind:
            return None
        chain.append(before)
    return chain if last.op_type == _SIZED[0] and chain[-1].input[0] == INPUT_NAME else None


def _phased(conv: onnx.NodeProto, weights: NDArray[Any]) -> tuple[NDArray[Any], dict[str, list[int]]] | None:
    """A convolution of stride 2 as one of stride 1 over the four phases of its input, each of half the size.

    Returns:
        Weights [c, 12, k', k'], the phase before the channel, and the changed attributes; None if it is not of that
        kind. Padding stays with the blocks: what lies outside is the zero point as before.
    """
    told = {each.name: helper.get_attribute_value(each) for each in conv.attribute}
    pads = list(told.get("pads", [0] * 4))
    is_plain = (
        weights.ndim == 4
        and weights.shape[1] == _CHANNELS
        and list(told.get("strides", [1, 1])) == [_PHASES] * 2
        and list(told.get("dilations", [1, 1])) == [1, 1]
        and told.get("group", 1) == 1
        and told.get("auto_pad", b"NOTSET") == b"NOTSET"
    )
    if not is_plain:
        return None
    before, after, kernel = [], [], []
    for axis in range(2):
        begin, end, size = pads[axis], pads[axis + 2], weights.shape[2 + axis]
        first, last = -begin // _PHASES, (size - 1 - begin) // _PHASES
        kernel.append(last - first + 1)
        before.append(-first)
        # As many outputs as before: the field's sides are even.
        after.append((begin + end - size) // _PHASES + first + kernel[-1])
    found = np.zeros((len(weights), _PHASES, _PHASES, _CHANNELS, *kernel), weights.dtype)
    for row, column in np.ndindex(*weights.shape[2:]):
        down, right = row - pads[0], column - pads[1]
        block = down // _PHASES + before[0], right // _PHASES + before[1]
        found[:, down % _PHASES, right % _PHASES, :, *block] = weights[:, :, row, column]
    shape = {"kernel_shape": kernel, "pads": [*before, *after], "strides": [1, 1]}
    return found.reshape(len(weights), -1, *kernel), shape


class _Branches:
    """Writes the choice by size, and a branch for each factor."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._shape = [*(side // _PHASES for side in place.field), _PHASES**2 * _CHANNELS]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def chosen(self, factors: Sequence[int]) -> str:
        """The bytes of the field by phases, [n, h / 2, w / 2, 12], whatever size the picture has."""
        size = self._node(self.nodes, "Shape", [INPUT_NAME], "size", start=1, end=3)
        self._constant(self.constants, "places", np.array([1 << 32, 1], np.int64))
        code = self._node(self.nodes, "MatMul", [size, f"{_SCOPE}/places"], "code")
        other = self._as_before()
        for factor in reversed(factors):
            height, width = (factor * side // _PHASES for side in self._place.field)
            name = f"{width}x{height}"
            self._constant(self.constants, f"{name}/code", np.array((height << 32) + width, np.int64))
            nodes: list[onnx.NodeProto] = []
            is_it = self._node(nodes, "Equal", [code, f"{_SCOPE}/{name}/code"], f"{name}/is-it")
            picked = self._node(
                nodes, "If", [is_it], f"{name}/picked", then_branch=self._by(factor, name), else_branch=other
            )
            other = self._graph(f"{name}/or-other", nodes, [], picked)
        self.nodes.extend(other.node)
        return str(other.output[0].name)

    def _by(self, factor: int, name: str) -> onnx.GraphProto:
        """One convolution of the picture's bytes for the field's four phases and three channels."""
        place, taps = self._place, taps_of(factor)
        both = [[np.outer(down, right) for right in taps.weights] for down in taps.weights]
        # The largest multiple that a byte holds, so that the bias, which is in the same units, is as fine as can be.
        finer = _MOST_WEIGHT // int(np.max(both))
        neighbours = next(each for each in _NEIGHBOURS if place.field[1] // _PHASES % each == 0)
        length = taps.weights.shape[1]
        width = length + (neighbours - 1) * factor
        weights = np.zeros((neighbours, _PHASES, _PHASES, _CHANNELS, _CHANNELS, length, width), np.int8)
        for neighbour, down, right in np.ndindex(neighbours, _PHASES, _PHASES):
            for channel, source in enumerate(place.order):
                at = slice(neighbour * factor, neighbour * factor + length)
                weights[neighbour, down, right, channel, source, :, at] = finer * both[down][right]
        scales = np.tile(place.gain / (finer * taps.total**2), neighbours * _PHASES**2)
        biases = np.rint(-np.tile(place.mean * place.gain, neighbours * _PHASES**2) / scales)
        # Beyond the border the last pixel once more, as ONNX Runtime's Resize takes it.
        before, after = -taps.first, taps.first + length - factor
        constants: list[TensorProto] = []
        given_values: dict[str, NDArray[Any]] = {
            "pads": np.array([0, before, before, 0, 0, after, after, 0], np.int64),
            "one": np.array(1, np.float32), "zero": np.array(0, np.uint8),
            "weights": weights.reshape(-1, _CHANNELS, length, width), "scales": scales.astype(np.float32),
            "zeros": np.zeros(len(scales), np.int8), "biases": biases.astype(np.int32),
            "bias-zeros": np.zeros(len(scales), np.int32), "shape": np.array([0, *self._shape], np.int64),
        }  # fmt: skip
        for key, values in given_values.items():
            self._constant(constants, f"{name}/{key}", values)
        nodes: list[onnx.NodeProto] = []

        def add(kind: str, inputs: Sequence[str], stem: str, **attributes: Any) -> str:
            return self._node(nodes, kind, inputs, f"{name}/{stem}", **attributes)

        def given(key: str) -> str:
            return f"{_SCOPE}/{name}/{key}"

        is_inside = before == after == 0
        padded = INPUT_NAME if is_inside else add("Pad", [INPUT_NAME, given("pads")], "padded", mode="edge")
        planes = add("Transpose", [padded], "planes", perm=[0, 3, 1, 2])
        grey = add("DequantizeLinear", [planes, given("one"), given("zero")], "grey")
        weighed = add("DequantizeLinear", [given(key) for key in ("weights", "scales", "zeros")], "weighed", axis=0)
        biased = add("DequantizeLinear", [given(key) for key in ("biases", "scales", "bias-zeros")], "biased", axis=0)
        sized = add(
            "Conv",
            [grey, weighed, biased],
            "sized",
            kernel_shape=[length, width],
            strides=[factor, neighbours * factor],
        )
        bytes_ = add("QuantizeLinear", [sized, *place.quantizer.input[1:3]], "bytes")
        # The runtime has channels last for bytes: it need not turn them, and neighbours already lie side by side.
        turned = add("Transpose", [bytes_], "turned", perm=[0, 2, 3, 1])
        return self._graph(name, nodes, constants, add("Reshape", [turned, given("shape")], "in-a-row"))

    def _as_before(self) -> onnx.GraphProto:
        """What the graph did, and its phases."""
        # Parted before they are bytes: ONNX Runtime before 1.31 has no SpaceToDepth for those.
        *nodes, quantizer = self._place.sized
        phases = self._node(nodes, "SpaceToDepth", [quantizer.input[0]], "other/phases", blocksize=_PHASES)
        bytes_ = self._node(nodes, "QuantizeLinear", [phases, *quantizer.input[1:3]], "other/bytes")
        return self._graph(
            "other", nodes, [], self._node(nodes, "Transpose", [bytes_], "other/turned", perm=[0, 2, 3, 1])
        )

    def _graph(
        self, name: str, nodes: list[onnx.NodeProto], constants: list[TensorProto], output: str
    ) -> onnx.GraphProto:
        told = helper.make_tensor_value_info(output, UINT8, ["n", *self._shape])
        return helper.make_graph(nodes, f"{_SCOPE}/{name}", [], [told], constants)

    @staticmethod
    def _node(nodes: list[onnx.NodeProto], kind: str, inputs: Sequence[str], stem: str, **attributes: Any) -> str:
        name = f"{_SCOPE}/{stem}"
        nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    @staticmethod
    def _constant(constants: list[TensorProto], stem: str, values: NDArray[Any]) -> None:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values), f"{_SCOPE}/{stem}"))
