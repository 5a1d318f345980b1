# SPDX-License-Identifier: Apache-2.0
"""Writes ONNX graphs by hand: a thin layer over `onnx.helper` with names, scopes and inlining.

By hand, because the graph is small, must be exact (`contracts.manifest.GraphSignature`) and must not change
with an exporter's mood. Knows nothing of detectors. Called by `detectors` and all here that write nodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET: Final = 18
IR_VERSION: Final = 9
FLOAT: Final = TensorProto.FLOAT
UINT8: Final = TensorProto.UINT8


class GraphWriter:
    """Collects nodes and constants; `model` checks and returns the whole."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0
        self.scope = ""

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{self.scope}{stem}_{self._count}"

    def input(self, name: str, element: int, shape: Sequence[int | str]) -> str:
        """Declare an input of the graph."""
        self._inputs.append(helper.make_tensor_value_info(name, element, shape))
        return name

    def output(self, name: str, value: str, shape: Sequence[int | str], element: int = FLOAT) -> None:
        """Give a value its public name. An Identity, so that inner names stay free."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"output/{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, element, shape))

    def constant(self, values: NDArray[Any] | Sequence[int] | float) -> str:
        """A constant; Python ints become int64, floats float32."""
        array = np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self._name("constant")
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, inputs: Iterable[str], **attributes: Any) -> str:
        """One node with one output."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Iterable[str], outputs: int, **attributes: Any) -> list[str]:
        """One node with several outputs."""
        name = self._name(kind)
        names = [name] if outputs == 1 else [f"{name}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names

    def conv(
        self,
        x: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        stride: int = 1,
        group: int = 1,
        padding: int | None = None,
    ) -> str:
        """A convolution; without a stated padding it keeps the size (÷ stride) for odd kernels."""
        kernel = weight.shape[2]
        pad = kernel // 2 if padding is None else padding
        return self.op(
            "Conv", [x, self.constant(weight), self.constant(bias)],
            kernel_shape=[kernel, kernel], pads=[pad] * 4, strides=[stride, stride], group=group,
        )  # fmt: skip

    def summed_squares(self, rows: str, channels: int) -> str:
        """Squares summed over the channels: [n, c, m] → [n, 1, m].

        As a product with ones, since ONNX Runtime 1.31 reduces over an axis before the last one value by one: 0.43 ms
        for 128 × 1,024, where this takes 0.07.
        """
        return self.op("MatMul", [self.constant(np.ones((1, channels), np.float32)), self.op("Mul", [rows, rows])])

    def resized(self, planes: str, height: int, width: int, *, is_antialiased: bool) -> str:
        """Linear resize of [n, c, h, w] to a fixed size.

        Sizes are spelt for all four axes: with the `axes` attribute ONNX Runtime 1.31 fails on quantized graphs
        once its layout optimiser has moved a Transpose over the Resize.
        """
        outer = self.op("Shape", [planes], start=0, end=2)
        sizes = self.op("Concat", [outer, self.constant([height, width])], axis=0)
        return self.op(
            "Resize", [planes, "", "", sizes],
            mode="linear", antialias=int(is_antialiased), coordinate_transformation_mode="half_pixel",
        )  # fmt: skip

    def inline(self, fragment: onnx.ModelProto, inputs: Mapping[str, str], scope: str) -> dict[str, str]:
        """Copy a model's nodes, with their inner graphs, under `scope`; returns its outputs' new names."""
        renamed = dict(inputs)

        def rename(name: str) -> str:
            return name if not name else renamed.setdefault(name, f"{scope}/{name}")

        def moved(node: onnx.NodeProto, index: int) -> onnx.NodeProto:
            twin = onnx.NodeProto()
            twin.CopyFrom(node)
            twin.name = f"{scope}/{node.name or f'{node.op_type}_{index}'}"
            twin.input[:] = [rename(name) for name in node.input]
            twin.output[:] = [rename(name) for name in node.output]
            for attribute in twin.attribute:
                for graph in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                    # An inner graph reads names of the outer one, and no name may be in both.
                    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
                        named.name = rename(named.name)
                    inner = [moved(each, place) for place, each in enumerate(graph.node)]
                    del graph.node[:]
                    graph.node.extend(inner)
            return twin

        for tensor in fragment.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = rename(tensor.name)
            self._constants.append(copy)
        self._nodes.extend(moved(node, index) for index, node in enumerate(fragment.graph.node))
        return {output.name: rename(output.name) for output in fragment.graph.output}

    def model(self, name: str) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="sightline")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model


def pruned(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that the named outputs need, with just these outputs."""
    needed = set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    known = {tensor.name for tensor in constants}
    inputs = [value for value in model.graph.input if value.name in needed and value.name not in known]
    infos = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    graph = helper.make_graph(list(reversed(nodes)), model.graph.name, inputs, infos, constants)
    slim = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    slim.ir_version = IR_VERSION
    return slim
