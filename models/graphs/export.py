# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph from picture to score, exactly as `contracts.manifest.GraphSignature` says.

Joins a front (float or INT8), the detector, the embedding and, where there are any, the names of defect classes. Does
not quantize and writes no files. Called by `training`.
"""

from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from contracts.manifest import GraphSignature
from contracts.tiles import Tiles
from models.detectors.base import Detector
from models.detectors.class_names import ClassNames
from models.detectors.embedding import LENGTH, Embedding
from models.graphs.features import CLASS_OUTPUT, FEATURES_NAME, INPUT_NAME
from models.graphs.writer import UINT8, GraphWriter

OUTPUTS: Final = ("score", "heatmap", "embedding")


def build_graph(
    front: onnx.ModelProto,
    detector: Detector,
    *,
    channels: int,
    shift: float = 0.0,
    names: ClassNames | None = None,
    embedding: Embedding | None = None,
) -> onnx.ModelProto:
    """The whole graph. `channels` is the length of a cell's features; `shift` is added to score and heatmap.

    Without an `embedding` mean features stand in its place: enough where only time is measured.
    """
    writer = GraphWriter()
    image = writer.input(INPUT_NAME, UINT8, ["n", "h", "w", 3])
    features = writer.inline(front, {INPUT_NAME: image}, "front")[FEATURES_NAME]
    score, heatmap = detector.write(writer, features)
    class_scores = None if names is None else names.write(writer, features, heatmap, detector.map_shape)
    writer.scope = "ends/"
    if shift:
        score, heatmap = (writer.op("Add", [value, writer.constant(shift)]) for value in (score, heatmap))
    length = channels if embedding is None else LENGTH
    if embedding is None:
        embedded = writer.op("ReduceMean", [features, writer.constant([2, 3])], keepdims=0)
    else:
        writer.scope = "embedding/"
        embedded = embedding.write(writer, features, heatmap, detector.map_shape)
    writer.scope = ""
    writer.output("score", score, ["n"])
    writer.output("heatmap", heatmap, ["n", "map_h", "map_w"])
    writer.output("embedding", embedded, ["n", length])
    if names is not None and class_scores is not None:
        writer.output(CLASS_OUTPUT, class_scores, ["n", len(names.classes)])
    return writer.model("sightline")


def signature_of(detector: Detector, *, size_px: int, tiles: Tiles) -> GraphSignature:
    """What the manifest says of the graph's ends."""
    height, width = detector.map_shape
    field_height, field_width = tiles.field_px(size_px)
    return GraphSignature(
        model_height_px=field_height, model_width_px=field_width, heatmap_height_px=height, heatmap_width_px=width,
        embedding_length=LENGTH, tiles=tiles,
    )  # fmt: skip


def shifted(model: onnx.ModelProto, shift: float) -> onnx.ModelProto:
    """A package graph with `shift` added to score and heatmap; class scores stay, which are on a scale of their own."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    name = "shift/amount"
    twin.graph.initializer.append(numpy_helper.from_array(np.array(shift, np.float32), name))
    for output in OUTPUTS[:2]:
        node = next(node for node in twin.graph.node if output in node.output)
        before = f"shift/{output}"
        node.output[:] = [before if each == output else each for each in node.output]
        # Somebody inside may read the score as well; what is read there was not shifted.
        for reader in twin.graph.node:
            reader.input[:] = [before if each == output else each for each in reader.input]
        twin.graph.node.append(onnx.helper.make_node("Add", [before, name], [output], name=f"shift/{output}/add"))
    onnx.checker.check_model(twin)
    return twin
