# SPDX-License-Identifier: Apache-2.0
"""fp16 of a graph's trunk by hand: its weights and values in half, everything else as it was.

Input stays uint8; resizing, distances, head and outputs stay float32, so that no large sum overflows and no converter's
mood decides what is cast. A value too large for half becomes infinite and the measuring refuses the variant. Quantizes
nothing. Called by `training`.
"""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.errors import QuantizationError
from models.graphs.quantization import trunk_of

_HALF: Final = "/half"
_FULL: Final = "/full"


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The fp16 form of a float graph: casts stand where a value enters the trunk and where it leaves it.

    Raises:
        QuantizationError: there is no trunk, or it would come out invalid; the float graph is still good.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    inside = {node.name for node in trunk_of(twin)}
    if not inside:
        msg = "the graph has no node that can be halved"
        raise QuantizationError(msg)
    weights = {tensor.name: tensor for tensor in twin.graph.initializer}
    made = {name for node in twin.graph.node if node.name in inside for name in node.output}
    wanted = {name for node in twin.graph.node if node.name not in inside for name in node.input}
    wanted |= {output.name for output in twin.graph.output}
    nodes: list[onnx.NodeProto] = []
    halves: dict[str, onnx.TensorProto] = {}
    entered: set[str] = set()
    for node in twin.graph.node:
        if node.name not in inside:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if name in weights and weights[name].data_type == TensorProto.FLOAT:
                halves.setdefault(name, _in_half(weights[name]))
            elif not name or name in weights or (name in made and name not in wanted):
                continue
            elif name not in made and name not in entered:
                entered.add(name)
                nodes.append(_cast(name, name + _HALF, TensorProto.FLOAT16))
            node.input[place] = name + _HALF
        nodes += _leaving(node, wanted)
    del twin.graph.node[:]
    twin.graph.node.extend(nodes)
    twin.graph.initializer.extend(halves.values())
    _drop_unused(twin)
    # Inner types are no longer those that were written down.
    del twin.graph.value_info[:]
    try:
        onnx.checker.check_model(twin, full_check=True)
    except Exception as error:  # the checker raises several unrelated classes
        raise QuantizationError(f"{type(error).__name__}: {error}") from error
    return twin


def _leaving(node: onnx.NodeProto, wanted: set[str]) -> list[onnx.NodeProto]:
    """A node of the trunk in half, and casts behind it for what is read outside."""
    leaving = [name for name in node.output if name in wanted]
    node.output[:] = [name + _HALF if name in wanted else name for name in node.output]
    if node.op_type == "Constant":
        _halve_constant(node)
    return [node, *(_cast(name + _HALF, name, TensorProto.FLOAT) for name in leaving)]


def _in_half(tensor: onnx.TensorProto) -> onnx.TensorProto:
    with np.errstate(over="ignore"):
        values = numpy_helper.to_array(tensor).astype(np.float16)
    return numpy_helper.from_array(values, tensor.name + _HALF)


def _halve_constant(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_in_half(attribute.t))


def _cast(before: str, after: str, element: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [before], [after], name=f"{after}{_FULL if element == 1 else ''}/cast", to=element)


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
