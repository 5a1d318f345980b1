# SPDX-License-Identifier: Apache-2.0
"""Writes the graph that `doctor` opens to see which provider it gets.

Run it by `python -m tests.edge.commissioning.probe_graph`.
"""

import base64
import sys

import onnx
from onnx import TensorProto, helper


def probe_graph() -> bytes:
    """One uint8 input, and the three outputs that every package's graph has."""
    nodes = [
        helper.make_node("Cast", ["image"], ["score"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["score"], ["heatmap"]),
        helper.make_node("Identity", ["score"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "h", "w", 3])
            for name in ("score", "heatmap", "embedding")
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    sys.stdout.write(base64.b64encode(probe_graph()).decode() + "\n")
