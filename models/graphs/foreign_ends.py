# SPDX-License-Identifier: Apache-2.0
"""The nodes behind a foreign graph: its outputs to our score, heatmap and embedding.

Runs nothing and chooses nothing (`foreign_outputs` does). Called by `foreign`.
"""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.graphs.export import OUTPUTS
from models.graphs.foreign_outputs import Boxes, Choice, Seen
from models.graphs.writer import FLOAT, GraphWriter

# Of the foreign graph's names, so that they never meet ours.
PREFIX: Final = "foreign/"
# The picture at the foreign graph's size, float BGR.
PLANES: Final = "front/planes"
# Where the picture lies in it when it has a border: px [top, left, bottom, right].
WHERE: Final = "front/where"
# Cells a side on which the picture's colours stand in for an embedding.
COLOUR_CELLS: Final = 8
# Boxes that are drawn into the heatmap: the most confident ones.
_DRAWN_BOXES: Final = 100
_BOX_CELLS: Final = 32


def box_cells(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Cells of the boxes' heatmap: the longer side has `_BOX_CELLS`."""
    longer = max(size_hw)
    return max(1, round(_BOX_CELLS * size_hw[0] / longer)), max(1, round(_BOX_CELLS * size_hw[1] / longer))


def write_ends(
    choice: Choice,
    seen: Seen,
    size_hw: tuple[int, int],
    map_shape: tuple[int, int],
    *,
    is_falling: bool,
    batch: int | str,
    has_border: bool = False,
) -> onnx.ModelProto:
    """The foreign outputs to score, heatmap and embedding.

    Args:
        choice: which outputs are taken.
        seen: what they were for one picture.
        size_hw: px that the foreign graph sees.
        map_shape: cells of the heatmap.
        is_falling: the score falls with suspicion.
        batch: 1, or the name of an open batch.
        has_border: the picture is not all that the graph saw.
    """
    writer = GraphWriter()
    writer.scope = "ends/"
    planes = writer.input(PLANES, FLOAT, ["n", 3, *size_hw])
    taken = {}
    for name in choice.names:
        element = helper.np_dtype_to_tensor_dtype(seen[name].dtype)
        value = writer.input(PREFIX + name, element, ["n", *seen[name].shape[1:]] if seen[name].ndim else [])
        taken[name] = value if element == FLOAT else writer.op("Cast", [value], to=FLOAT)
    if choice.boxes is not None and choice.score is not None:
        score, heatmap = _drawn_boxes(writer, taken[choice.score], choice.boxes, size_hw, map_shape)
    else:
        score, heatmap = _scored(writer, choice, taken, seen, map_shape)
    if has_border and map_shape != (1, 1):
        heatmap = _without_border(writer, heatmap, size_hw, map_shape)
    if is_falling:
        score, heatmap = writer.op("Neg", [score]), writer.op("Neg", [heatmap])
    if choice.embedding is not None:
        embedding = taken[choice.embedding]
    else:
        cells = writer.resized(planes, COLOUR_CELLS, COLOUR_CELLS, is_antialiased=True)
        embedding = writer.op("Flatten", [writer.op("Mul", [cells, writer.constant(1 / 255)])], axis=1)
    writer.scope = ""
    for name, value, shape in zip(
        OUTPUTS, (score, heatmap, embedding), ([batch], [batch, *map_shape], [batch, "d"]), strict=True
    ):
        writer.output(name, value, shape)
    return writer.model("ends")


def _without_border(writer: GraphWriter, heatmap: str, size_hw: tuple[int, int], map_shape: tuple[int, int]) -> str:
    """The part of a heatmap [n, h, w] that shows the picture, stretched to all of it."""
    where = writer.op("Cast", [writer.input(WHERE, TensorProto.INT64, [4])], to=FLOAT)
    cells = np.array(map_shape, np.float32) / np.array(size_hw, np.float32)
    on_map = writer.op("Mul", [where, writer.constant(np.tile(cells, 2))])
    start, end = (
        writer.op(
            "Cast",
            [writer.op(edge, [writer.op("Slice", [on_map, writer.constant([first]), writer.constant([first + 2])])])],
            to=TensorProto.INT64,
        )
        for edge, first in (("Floor", 0), ("Ceil", 2))
    )
    shown = writer.op("Slice", [heatmap, start, end, writer.constant([1, 2])])
    plane = writer.resized(writer.op("Unsqueeze", [shown, writer.constant([1])]), *map_shape, is_antialiased=False)
    return writer.op("Squeeze", [plane, writer.constant([1])])


def _scored(
    writer: GraphWriter, choice: Choice, taken: dict[str, str], seen: Seen, map_shape: tuple[int, int]
) -> tuple[str, str]:
    """Score [n] and heatmap [n, h, w], each from the other where the graph has just one of them."""
    score = heatmap = ""
    if choice.heatmap is not None:
        heatmap = writer.op("Reshape", [taken[choice.heatmap], writer.constant([-1, *map_shape])])
    if choice.score is not None:
        value = taken[choice.score]
        if seen[choice.score].size > 1:
            value = writer.op("Gather", [value, writer.constant([choice.column])], axis=1)
        score = writer.op("Reshape", [value, writer.constant([-1])])
    elif choice.heatmap is not None:
        score = writer.op("ReduceMax", [heatmap, writer.constant([1, 2])], keepdims=0)
    return score, heatmap or writer.op("Reshape", [score, writer.constant([-1, 1, 1])])


def _drawn_boxes(
    writer: GraphWriter, rows: str, boxes: Boxes, size_hw: tuple[int, int], map_shape: tuple[int, int]
) -> tuple[str, str]:
    """The highest confidence [n], and on each cell that of the most confident box that touches it, [n, h, w]."""
    if boxes.is_fields_first:
        rows = writer.op("Transpose", [rows], perm=[0, 2, 1])
    first = 5 if boxes.has_objectness else 4

    def fields(values: str, start: int, end: int) -> str:
        return writer.op("Slice", [values, *(writer.constant([each]) for each in (start, end, 2))])

    certain = writer.op("ReduceMax", [fields(rows, first, first + boxes.classes), writer.constant([2])], keepdims=0)
    if boxes.has_objectness:
        certain = writer.op("Mul", [certain, writer.op("Squeeze", [fields(rows, 4, 5), writer.constant([2])])])
    score = writer.op("ReduceMax", [certain, writer.constant([1])], keepdims=0)
    kept = writer.constant([min(_DRAWN_BOXES, boxes.count)])
    values, places = writer.ops("TopK", [certain, kept], 2, axis=1)
    places = writer.op("Unsqueeze", [places, writer.constant([2])])
    drawn = writer.op("GatherND", [fields(rows, 0, 4), places], batch_dims=1)
    near = ""
    for axis in (0, 1):
        # Centre and size stand as x, y, w, h; a cell is touched from the cell's own half side on.
        count, unit = map_shape[1 - axis], boxes.unit_px[1 - axis]
        side_px = size_hw[1 - axis] / count
        centres = (np.arange(count, dtype=np.float32) + 0.5) * np.float32(side_px)
        grid = np.tile(centres, map_shape[0]) if axis == 0 else np.repeat(centres, map_shape[1])
        middle = writer.op("Mul", [fields(drawn, axis, axis + 1), writer.constant(unit)])
        reach = writer.op("Mul", [fields(drawn, 2 + axis, 3 + axis), writer.constant(unit / 2)])
        reach = writer.op("Add", [reach, writer.constant(side_px / 2)])
        apart = writer.op("Abs", [writer.op("Sub", [middle, writer.constant(grid.reshape(1, 1, -1))])])
        touched = writer.op("LessOrEqual", [apart, reach])
        near = writer.op("And", [near, touched]) if near else touched
    tall = writer.op("Unsqueeze", [values, writer.constant([2])])
    shown = writer.op("Where", [near, tall, writer.constant(0.0)])
    flat = writer.op("ReduceMax", [shown, writer.constant([1])], keepdims=0)
    return score, writer.op("Reshape", [flat, writer.constant([-1, *map_shape])])
