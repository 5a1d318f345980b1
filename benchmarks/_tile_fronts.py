# SPDX-License-Identifier: Apache-2.0
"""Other ways to run a trunk over a field of several tiles, to be compared with the one that packages have.

- `batch`: the field is cut, the tiles run as one batch, the stages' maps are joined before they are pooled;
- `overlap`: the same with `HALO_PX` of its neighbours around each tile, cut off again behind the trunk;
- `scan`: the tiles run one after another, by ONNX's `Scan`.

All give [n, d, R g, C g] as `graphs.features.build_front` does; `scan` takes one picture at a time. For
`decide_tiles` only: no package is made of these.
"""

from collections.abc import Callable
from typing import Final

import onnx

from contracts.tiles import Tiles
from models.graphs import features
from models.graphs.features import FEATURES_NAME, TRUNK_SCOPE
from models.graphs.trunks import STAGES, Trunk
from models.graphs.writer import FLOAT, GraphWriter

# Two cells of the coarser stage.
HALO_PX: Final = 32
_STRIDES: Final = (8, 16)
Front = Callable[[Trunk, int, int, Tiles], onnx.ModelProto]


def whole(trunk: Trunk, size_px: int, grid: int, tiles: Tiles) -> onnx.ModelProto:
    """As packages have it: the trunk runs over the whole field."""
    return features.build_front(trunk, size_px=size_px, grid=grid, tiles=tiles)


def batch(trunk: Trunk, size_px: int, grid: int, tiles: Tiles) -> onnx.ModelProto:
    """See the module."""
    writer, field = _field(size_px, tiles)
    cut = writer.op("Reshape", [field, writer.constant([-1, 3, tiles.rows, size_px, tiles.columns, size_px])])
    cut = writer.op("Transpose", [cut], perm=[0, 2, 4, 1, 3, 5])
    cut = writer.op("Reshape", [cut, writer.constant([-1, 3, size_px, size_px])])
    stages = writer.inline(trunk.fragment, {"image": cut}, TRUNK_SCOPE)
    maps = [_joined(writer, stages[name], size_px // stride, count, tiles) for name, stride, count in _each(trunk)]
    return _finished(writer, maps, grid, tiles)


def overlap(trunk: Trunk, size_px: int, grid: int, tiles: Tiles) -> onnx.ModelProto:
    """See the module. Around the field its border is repeated."""
    writer, field = _field(size_px, tiles)
    pads = [0, 0, HALO_PX, HALO_PX, 0, 0, HALO_PX, HALO_PX]
    padded = writer.op("Pad", [field, writer.constant(pads)], mode="edge")
    side, pieces = size_px + 2 * HALO_PX, []
    for row in range(tiles.rows):
        for column in range(tiles.columns):
            top, left = row * size_px, column * size_px
            ends = [writer.constant(each) for each in ([top, left], [top + side, left + side], [2, 3])]
            pieces.append(writer.op("Unsqueeze", [writer.op("Slice", [padded, *ends]), writer.constant([1])]))
    cut = writer.op("Reshape", [writer.op("Concat", pieces, axis=1), writer.constant([-1, 3, side, side])])
    stages = writer.inline(trunk.fragment, {"image": cut}, TRUNK_SCOPE)
    maps = []
    for name, stride, count in _each(trunk):
        first, last = HALO_PX // stride, (HALO_PX + size_px) // stride
        ends = [writer.constant(each) for each in ([first, first], [last, last], [2, 3])]
        maps.append(_joined(writer, writer.op("Slice", [stages[name], *ends]), size_px // stride, count, tiles))
    return _finished(writer, maps, grid, tiles)


def scan(trunk: Trunk, size_px: int, grid: int, tiles: Tiles) -> onnx.ModelProto:
    """See the module."""
    writer, field = _field(size_px, tiles)
    cut = writer.op("Reshape", [field, writer.constant([3, tiles.rows, size_px, tiles.columns, size_px])])
    cut = writer.op("Transpose", [cut], perm=[1, 3, 0, 2, 4])
    cut = writer.op("Reshape", [cut, writer.constant([tiles.count, 1, 3, size_px, size_px])])
    inner = GraphWriter()
    tile = inner.input("tile", FLOAT, [1, 3, size_px, size_px])
    within = inner.inline(trunk.fragment, {"image": tile}, "inner")
    for name in STAGES:
        inner.output(f"tile_{name}", within[name], [1, "c", "h", "w"])
    maps = []
    scanned = writer.ops("Scan", [cut], len(STAGES), body=inner.model("tile").graph, num_scan_inputs=1)
    for (_name, stride, count), found in zip(_each(trunk), scanned, strict=True):
        flat = writer.op("Squeeze", [found, writer.constant([1])])
        maps.append(_joined(writer, flat, size_px // stride, count, tiles))
    return _finished(writer, maps, grid, tiles)


def _field(size_px: int, tiles: Tiles) -> tuple[GraphWriter, str]:
    """A writer and the name of the resized, normalised field [n, 3, h, w]."""
    writer = GraphWriter()
    return writer, features.write_field(writer, *tiles.field_px(size_px))


def _each(trunk: Trunk) -> list[tuple[str, int, int]]:
    """Name, stride and channels of each stage; a wide trunk, whose channels are narrowed, is not for here."""
    return list(zip(STAGES, _STRIDES, features.stage_channels(trunk), strict=True))


def _joined(writer: GraphWriter, stage: str, side: int, channels: int, tiles: Tiles) -> str:
    """[n R C, c, s, s] → [n, c, R s, C s]."""
    apart = writer.op("Reshape", [stage, writer.constant([-1, tiles.rows, tiles.columns, channels, side, side])])
    turned = writer.op("Transpose", [apart], perm=[0, 3, 1, 4, 2, 5])
    return writer.op("Reshape", [turned, writer.constant([-1, channels, tiles.rows * side, tiles.columns * side])])


def _finished(writer: GraphWriter, maps: list[str], grid: int, tiles: Tiles) -> onnx.ModelProto:
    """Maps of the stages to features, as the front of a package makes them."""
    writer.scope = "grid/"
    height, width = tiles.rows * grid, tiles.columns * grid
    joined = writer.op("Concat", [features.write_on_grid(writer, each, height, width) for each in maps], axis=1)
    writer.output(FEATURES_NAME, joined, ["n", "d", height, width])
    return writer.model("front")
