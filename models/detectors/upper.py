# SPDX-License-Identifier: Apache-2.0
"""The trunk's own layers behind stride 8, to be trained on with a head: fine-tuning within the features.

A head on frozen features can only weigh what ImageNet left in them. Given the layers that made stride 16 out of stride
8, as they were, and trained on together with the head, it learns what a defect of this product looks like; the bank
and what it was fitted on stay as they are. As many of the layers as cost a station no more than `MOST_MACS_A_CELL`,
cut where a single value passes on. Knows no pictures and no losses. Called by `head`; made by `training`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from models.detectors.base import Floats
from models.graphs.trunks import STAGES
from models.graphs.writer import GraphWriter

if TYPE_CHECKING:
    from torch import Tensor, nn

# Multiplications of one cell of stride 8. MobileNetV2 comes to 49,104 with its three layers of 64 channels, 50 million
# for a grid of 32 × 32; all up to stride 16 would be 125 million. A ResNet-18's next layer alone costs more.
MOST_MACS_A_CELL: Final = 50_000
_PLAIN: Final = ("Relu", "Add")
# The grid has an even number of cells a side, no more is known of it.
_MOST_SHRUNK: Final = 2


@dataclass(frozen=True)
class Layer:
    """One operator: what it reads and gives by name, and of a convolution its place and form."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    # Which convolution it is, −1: none.
    place: int = -1
    stride: int = 1
    group: int = 1
    bounds: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Upper:
    """Layers from the first stage's map [n, `channels`, h, w] to a map of `width` channels, `factor` times smaller."""

    layers: tuple[Layer, ...]
    channels: int
    width: int
    factor: int
    kernels: tuple[Floats, ...] = field(compare=False, repr=False)
    biases: tuple[Floats, ...] = field(compare=False, repr=False)

    def trained(self, kernels: Sequence[Floats], biases: Sequence[Floats]) -> "Upper":
        """The same layers with other weights."""
        return Upper(self.layers, self.channels, self.width, self.factor, tuple(kernels), tuple(biases))


def upper_of(fragment: onnx.ModelProto, most_macs_a_cell: int = MOST_MACS_A_CELL) -> Upper | None:
    """The layers of a trunk that follow its first stage; None where they cannot be trained or cost too much."""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in fragment.graph.initializer}
    start, nodes = _behind(fragment)
    found: list[Layer] = []
    weights: list[tuple[Floats, Floats]] = []
    # Of each value its channels, and how many times smaller it is than the first stage.
    shapes: dict[str, tuple[int, int]] = {start: (0, 1)}
    macs, channels, best = 0.0, 0, 0
    for place, node in enumerate(nodes):
        layer = _layer(node, known, len(weights))
        if layer is None or any(name not in shapes for name in layer.inputs):
            break
        width, shrunk = shapes[layer.inputs[0]]
        if layer.kind == "Conv":
            kernel, bias = (known[name].astype(np.float32) for name in node.input[1:3])
            weights.append((kernel, bias))
            channels = channels or kernel.shape[1] * layer.group
            width, shrunk = len(kernel), shrunk * layer.stride
            macs += kernel.size / shrunk**2
        if macs > most_macs_a_cell or shrunk > _MOST_SHRUNK:
            break
        shapes[layer.output] = (width, shrunk)
        found.append(layer)
        # A cut must pass on one value alone.
        if {name for later in nodes[place + 1 :] for name in later.input if name in shapes} <= {layer.output}:
            best = len(found)
    places = sum(layer.kind == "Conv" for layer in found[:best])
    if not places:
        return None
    width, shrunk = shapes[found[best - 1].output]
    kernels, biases = zip(*weights[:places], strict=True)
    return Upper(tuple(found[:best]), channels, width, shrunk, kernels, biases)


def _behind(fragment: onnx.ModelProto) -> tuple[str, list[onnx.NodeProto]]:
    """The first stage's own name, and the nodes through which the second stage comes of it, in their order."""
    nodes = list(fragment.graph.node)
    told = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Identity"}
    start, end = (told.get(stage, stage) for stage in STAGES)
    reached, needed = {start}, {end}
    for node in nodes:
        if reached.intersection(node.input):
            reached.update(node.output)
    wanted = []
    for node in reversed(nodes):
        if needed.intersection(node.output) and reached.intersection(node.input) and start not in node.output:
            needed.update(node.input)
            wanted.append(node)
    return start, wanted[::-1]


def _layer(node: onnx.NodeProto, known: dict[str, Any], place: int) -> Layer | None:
    """None: of a form that is not trained on here."""
    told = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    inputs = tuple(name for name in node.input if name not in known)
    if node.op_type == "Clip" and len(node.input) == 3 and len(inputs) == 1:
        low, high = (float(known[name].item()) for name in node.input[1:])
        return Layer("Clip", inputs, node.output[0], bounds=(low, high))
    if node.op_type in _PLAIN:
        return Layer(node.op_type, inputs, node.output[0]) if len(inputs) == len(node.input) else None
    if node.op_type != "Conv" or len(node.input) != 3 or len(inputs) != 1:
        return None
    side = known[node.input[1]].shape[2:]
    strides, pads = told.get("strides", [1, 1]), told.get("pads", [0, 0, 0, 0])
    is_plain = side[0] == side[1] and strides[0] == strides[1] and set(told.get("dilations", [1])) == {1}
    if not is_plain or set(pads) != {side[0] // 2} or told.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    return Layer("Conv", inputs, node.output[0], place, int(strides[0]), int(told.get("group", 1)))


def upper_module(upper: Upper) -> "nn.Module":
    """As a torch module [n, c, h, w] → [n, width, h, w] that begins with these weights."""
    import torch  # noqa: PLC0415 -- seconds of import, only for training
    from torch import nn  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernels = nn.ParameterList([torch.from_numpy(kernel.copy()) for kernel in upper.kernels])
            self.biases = nn.ParameterList([torch.from_numpy(bias.copy()) for bias in upper.biases])

        def forward(self, x: "Tensor") -> "Tensor":
            values = {upper.layers[0].inputs[0]: x}
            for layer in upper.layers:
                read = [values[name] for name in layer.inputs]
                if layer.kind == "Conv":
                    kernel, bias = self.kernels[layer.place], self.biases[layer.place]
                    made = functional.conv2d(read[0], kernel, bias, layer.stride, kernel.shape[-1] // 2, 1, layer.group)
                elif layer.kind == "Clip":
                    made = read[0].clamp(*layer.bounds)
                elif layer.kind == "Relu":
                    made = read[0].relu()
                else:
                    made = read[0] + read[1]
                values[layer.output] = made
            pooled = functional.avg_pool2d(values[upper.layers[-1].output], 3, 1, 1, count_include_pad=False)
            if upper.factor == 1:
                return pooled
            return functional.interpolate(
                pooled, scale_factor=float(upper.factor), mode="bilinear", align_corners=False
            )

    return Module()


def write_upper(writer: GraphWriter, upper: Upper, features: str) -> str:
    """In the graph, behind features [n, d, h, w] whose first channels are the first stage: [n, width, h, w]."""
    bounds = [writer.constant([each]) for each in (0, upper.channels, 1)]
    values = {upper.layers[0].inputs[0]: writer.op("Slice", [features, *bounds])}
    for layer in upper.layers:
        read = [values[name] for name in layer.inputs]
        if layer.kind == "Conv":
            kernel, bias = upper.kernels[layer.place], upper.biases[layer.place]
            made = writer.conv(read[0], kernel, bias, stride=layer.stride, group=layer.group)
        elif layer.kind == "Clip":
            made = writer.op("Clip", [read[0], *(writer.constant(bound) for bound in layer.bounds)])
        else:
            made = writer.op(layer.kind, read)
        values[layer.output] = made
    pooled = writer.op(
        "AveragePool", [values[upper.layers[-1].output]],
        kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=0,
    )  # fmt: skip
    if upper.factor == 1:
        return pooled
    scales = writer.constant(np.array([1, 1, upper.factor, upper.factor], np.float32))
    return writer.op("Resize", [pooled, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")
