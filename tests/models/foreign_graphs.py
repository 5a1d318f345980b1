# SPDX-License-Identifier: Apache-2.0
"""ONNX files as other tools export them, small enough to be made in a test: brightness stands for suspicion.

`scores` is shaped like anomalib's export, `boxes` like a YOLO's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE_PX: Final = 64
_STRIDES_PX: Final = (8, 16, 32)


def _constant(name: str, values: NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(values, name)


def saved(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[tuple[str, int]],
    *,
    constants: Sequence[TensorProto] = (),
    shape: Sequence[int | str] = ("n", 3, SIDE_PX, SIDE_PX),
    element: int = TensorProto.FLOAT,
    opset: int = 18,
    domains: Sequence[str] = (),
) -> Path:
    """Write a graph with the input `images`; output shapes are left open, as dynamic exports leave them."""
    graph = helper.make_graph(
        list(nodes), "outside", [helper.make_tensor_value_info("images", element, list(shape))],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs], list(constants),
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def _reduce(kind: str, source: str, target: str, axes: Sequence[int], opset: int, *, keepdims: int) -> onnx.NodeProto:
    """Axes are an attribute before operator set 18, an input from then on."""
    if opset < 18:
        return helper.make_node(kind, [source], [target], axes=list(axes), keepdims=keepdims)
    return helper.make_node(kind, [source, "axes_" + "_".join(map(str, axes))], [target], keepdims=keepdims)


def scores(
    path: Path,
    *,
    batch: int | str = "n",
    side: int | str = SIDE_PX,
    opset: int = 18,
    is_column: bool = False,
    is_falling: bool = False,
    has_map: bool = True,
    has_score: bool = True,
    broken_above: float | None = None,
) -> Path:
    """Map: mean of the colours; score: its highest value; beside them anomalib's boolean label and mask.

    `broken_above`: the score is NaN for pictures with a brighter place, 0 … 1.
    """
    nodes = [
        _reduce("ReduceMean", "images", "mean", [1], opset, keepdims=1),
        helper.make_node("Neg" if is_falling else "Identity", ["mean"], ["anomaly_map"]),
        _reduce("ReduceMin" if is_falling else "ReduceMax", "anomaly_map", "top", [1, 2, 3], opset, keepdims=0),
        helper.make_node("Greater", ["top", "half"], ["pred_label"]),
        helper.make_node("Greater", ["anomaly_map", "half"], ["pred_mask"]),
        helper.make_node("Greater", ["top", "broken"], ["is_broken"]),
        helper.make_node("Where", ["is_broken", "nan", "top"], ["checked"]),
        helper.make_node("Reshape", ["checked", "shape"], ["pred_score"]),
    ]
    limit = np.float32(np.inf if broken_above is None else broken_above)
    constants = [
        _constant("half", np.array(0.5, np.float32)),
        _constant("broken", np.array(limit, np.float32)),
        _constant("nan", np.array(np.nan, np.float32)),
        _constant("shape", np.array([-1, 1] if is_column else [-1], np.int64)),
    ]
    if opset >= 18:
        constants += [_constant("axes_1", np.array([1])), _constant("axes_1_2_3", np.array([1, 2, 3]))]
    outputs = [("pred_label", TensorProto.BOOL), ("pred_mask", TensorProto.BOOL)]
    outputs += [("anomaly_map", TensorProto.FLOAT)] if has_map else []
    outputs += [("pred_score", TensorProto.FLOAT)] if has_score else []
    return saved(path, nodes, outputs, constants=constants, shape=(batch, 3, side, side), opset=opset)


def boxes(path: Path, *, version: int, classes: int = 2, batch: int | str = 1, confidence: float = 1.0) -> Path:
    """One box a cell on three grids; confidence of class 0: half of its brightest place, of the others a quarter.

    From version 8 on [n, 4 + classes, 84]; before, three boxes a cell and objectness, [n, 252, 5 + classes].
    """
    nodes = [helper.make_node("ReduceMean", ["images", "axes_1"], ["grey"], keepdims=1)]
    flat, places = [], []
    for stride in _STRIDES_PX:
        count = SIDE_PX // stride
        nodes.append(
            helper.make_node("MaxPool", ["grey"], [f"p{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        nodes.append(helper.make_node("Reshape", [f"p{stride}", "flat"], [f"f{stride}"]))
        flat.append(f"f{stride}")
        y, x = np.divmod(np.arange(count**2), count)
        places.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, 0 * x + stride, 0 * y + stride]))
    nodes.append(helper.make_node("Concat", flat, ["bright"], axis=2))
    nodes.append(helper.make_node("Mul", ["bright", "confidence"], ["certain"]))
    nodes.append(helper.make_node("Mul", ["bright", "zero"], ["none"]))
    where = np.concatenate(places, axis=1).astype(np.float32)[None]
    constants = [
        _constant("axes_1", np.array([1])),
        _constant("flat", np.array([0, 1, -1])),
        _constant("zero", np.array(0, np.float32)),
        _constant("one", np.array(1, np.float32)),
        _constant("confidence", np.array(confidence, np.float32)),
        _constant("weights", np.array([0.5] + [0.25] * (classes - 1), np.float32).reshape(1, classes, 1)),
        _constant("where", where),
    ]
    nodes.append(helper.make_node("Add", ["none", "where"], ["xywh"]))
    if version >= 8:
        nodes.append(helper.make_node("Mul", ["certain", "weights"], ["each"]))
        nodes.append(helper.make_node("Concat", ["xywh", "each"], ["output0"], axis=1))
    else:
        nodes.append(helper.make_node("Add", ["none", "one"], ["ones"]))
        nodes.append(helper.make_node("Mul", ["ones", "weights"], ["each"]))
        nodes.append(helper.make_node("Concat", ["xywh", "certain", "each"], ["fields"], axis=1))
        nodes.append(helper.make_node("Concat", ["fields"] * 3, ["thrice"], axis=2))
        nodes.append(helper.make_node("Transpose", ["thrice"], ["output0"], perm=[0, 2, 1]))
    return saved(path, nodes, [("output0", TensorProto.FLOAT)], constants=constants, shape=(batch, 3, SIDE_PX, SIDE_PX))
