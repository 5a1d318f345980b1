# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph from picture to score, exactly as `contracts.manifest.GraphSignature` says.

Joins the front (resize, normalise, trunk, grid), the detector and the embedding. Does not quantize and writes no
files. Called by `training`.
"""

from typing import Final

import onnx

from contracts.manifest import GraphSignature
from models.detectors.base import Detector
from models.features import write_front
from models.graph import GraphWriter
from models.trunks import Trunk

OUTPUTS: Final = ("score", "heatmap", "embedding")


def build_graph(
    trunk: Trunk, detector: Detector, *, size_px: int, grid: int, channels: int
) -> tuple[onnx.ModelProto, GraphSignature]:
    """The float graph and its signature. `channels` is the length of a cell's features."""
    writer = GraphWriter()
    features = write_front(writer, trunk, size_px, grid)
    score, heatmap = detector.write(writer, features)
    writer.scope = "embedding/"
    pooled = writer.op("ReduceMean", [features, writer.constant([2, 3])], keepdims=0)
    writer.scope = ""
    writer.output("score", score, ["n"])
    writer.output("heatmap", heatmap, ["n", "map_h", "map_w"])
    writer.output("embedding", pooled, ["n", channels])
    return writer.model("sightline"), GraphSignature(
        model_height_px=size_px,
        model_width_px=size_px,
        heatmap_height_px=detector.map_shape[0],
        heatmap_width_px=detector.map_shape[1],
        embedding_length=channels,
    )
