# SPDX-License-Identifier: Apache-2.0
"""Pictures to grid features, by the very operators that a package runs: cast, resize, normalise, trunk, grid.

The front of every graph is written here once and run by ONNX Runtime for training too, so that training and
station cannot differ. Features are [n, d, g, g]: stride 8 and stride 16 pooled over 3 × 3, side by side; of a wide
trunk the means of a few neighbouring channels. With tiles the field is R × C times as large and so are the features,
[n, d, R g, C g]; the trunk runs over the field as a whole, so that there are no seams (ADR 0018). Does not judge.
Called by `training`, `packages`, `measuring`, `reporting`, `detectors` and `export`.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from contracts.tiles import Tiles
from models.graphs.trunks import STAGES, Trunk
from models.graphs.writer import FLOAT, UINT8, GraphWriter

Picture = NDArray[np.uint8]
Features = NDArray[np.float16]

INPUT_NAME: Final = "image"
FEATURES_NAME: Final = "features"
CLASS_OUTPUT: Final = "class_scores"
TRUNK_SCOPE: Final = "trunk"
# A trunk of more channels is narrowed to `_NARROW` or fewer: of a ResNet-50's 1,536 the features of 2,000 pictures
# would be 6.3 GB, of 384 they are 1.6 GB. A bank of 300 parts took a minute to fit with 1,536 and 4 s with 512.
WIDEST: Final = 768
_NARROW: Final = 384
_MEAN: Final = np.array((0.485, 0.456, 0.406), np.float32).reshape(1, 3, 1, 1) * np.float32(255)
_STD: Final = np.array((0.229, 0.224, 0.225), np.float32).reshape(1, 3, 1, 1) * np.float32(255)


def build_front(trunk: Trunk, *, size_px: int, grid: int, tiles: Tiles | None = None) -> onnx.ModelProto:
    """uint8 BGR [n, h, w, 3] → `features` [n, d, g, g], in float; `quantization` makes the INT8 form of it.

    Args:
        trunk: convolutions alone, so that it takes a field of any size.
        size_px: side of one tile, px.
        grid: cells a side of one tile, g.
        tiles: how many of them make up the field; None: one. The features are then [n, d, R g, C g].
    """
    tiles = tiles or Tiles()
    writer = GraphWriter()
    normal = write_field(writer, *tiles.field_px(size_px))
    stages = writer.inline(trunk.fragment, {"image": normal}, TRUNK_SCOPE)
    writer.scope = "grid/"
    factor = channels_a_mean(trunk.fragment)
    narrowed = [_narrowed(writer, stages[name], factor) for name in STAGES]
    height, width = tiles.rows * grid, tiles.columns * grid
    joined = writer.op("Concat", [write_on_grid(writer, stage, height, width) for stage in narrowed], axis=1)
    writer.output(FEATURES_NAME, joined, ["n", "d", height, width])
    return writer.model("front")


def write_field(writer: GraphWriter, height_px: int, width_px: int) -> str:
    """The graph's input and what trunks see of it: uint8 BGR [n, h, w, 3] → normalised RGB of the field's size."""
    writer.scope = "sized/"
    image = writer.input(INPUT_NAME, UINT8, ["n", "h", "w", 3])
    planes = writer.op("Transpose", [writer.op("Cast", [image], to=FLOAT)], perm=[0, 3, 1, 2])
    sized = writer.resized(planes, height_px, width_px, is_antialiased=True)
    rgb = writer.op("Gather", [sized, writer.constant([2, 1, 0])], axis=1)
    centred = writer.op("Sub", [rgb, writer.constant(_MEAN)])
    return writer.op("Mul", [centred, writer.constant((1 / _STD).astype(np.float32))])


def channels_a_mean(fragment: onnx.ModelProto) -> int:
    """How many neighbouring channels of a trunk make one of the features; 1: each stands for itself.

    PatchCore (Roth et al., 2022) pools channels to a set width in the same way. The order of a trunk's channels means
    nothing, so neighbours are as good as any. On magnetic tiles, sound parts only, FP32, ResNet-50 v2 (1,536 channels):
    image AUROC .821 with all, .838 with means of three and .846 of four, .827 with a third of the channels, .783 with
    a random projection to a third.
    """
    inferred = onnx.shape_inference.infer_shapes(fragment).graph.output
    channels = sum(value.type.tensor_type.shape.dim[1].dim_value for value in inferred if value.name in STAGES)
    return -(-channels // _NARROW) if channels > WIDEST else 1


def _narrowed(writer: GraphWriter, stage: str, factor: int) -> str:
    """Means of `factor` neighbouring channels; up to `factor` − 1 channels at the end are dropped."""
    if factor == 1:
        return stage
    outer = writer.op("Shape", [stage], start=1, end=2)
    end = writer.op("Mul", [writer.op("Div", [outer, writer.constant([factor])]), writer.constant([factor])])
    axis, step = writer.constant([1]), writer.constant([factor])
    every = [writer.op("Slice", [stage, writer.constant([first]), end, axis, step]) for first in range(factor)]
    return writer.op("Mean", every)


def write_on_grid(writer: GraphWriter, stage: str, height: int, width: int) -> str:
    """A stage's map, pooled over 3 × 3, so that a cell knows its neighbours, and brought to the grid."""
    pooled = writer.op(
        "AveragePool", [stage], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=0
    )
    # Not antialiased: the factor is 2 at most, where plain linear is the mean of 2 × 2.
    return writer.resized(pooled, height, width, is_antialiased=False)


def stage_channels(trunk: Trunk) -> tuple[int, ...]:
    """How many channels the features have of each stage of the trunk, in their order."""
    writer = GraphWriter()
    image = writer.input(INPUT_NAME, FLOAT, [1, 3, "h", "w"])
    stages = writer.inline(trunk.fragment, {"image": image}, TRUNK_SCOPE)
    for name in STAGES:
        writer.output(name, stages[name], [1, "d", "sh", "sw"])
    # Asked of the graph itself: a trunk from outside may not say it anywhere.
    told = open_session(writer.model("stages"), 1).run(list(STAGES), {INPUT_NAME: np.zeros((1, 3, 64, 64), np.float32)})
    factor = channels_a_mean(trunk.fragment)
    return tuple(int(stage.shape[1]) // factor for stage in told)


def open_session(model: onnx.ModelProto | bytes, threads: int) -> ort.InferenceSession:
    """A CPU session. Training reads and writes nothing else."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads take the cores from a line that may run on the same machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class FeatureExtractor:
    """Runs a front over pictures of any size."""

    def __init__(self, front: onnx.ModelProto | bytes, *, threads: int) -> None:
        self._session = open_session(front, threads)

    def extract(self, pictures: Iterable[Picture], count: int, check: Callable[[int], None] | None = None) -> Features:
        """Features of `count` ≥ 1 pictures, float16 [n, d, g, g]; `check` is told the count after each (may raise).

        Raises:
            ValueError: more or fewer pictures than told; the caller has a fault.
        """
        features: Features | None = None
        for index, picture in zip(range(count), pictures, strict=True):
            found = self._session.run([FEATURES_NAME], {INPUT_NAME: picture[None]})[0]
            if features is None:
                # Filled in place: to join them in the end would take the memory twice.
                features = np.empty((count, *found.shape[1:]), np.float16)
            # What half precision cannot hold becomes infinity, which is for the caller to refuse.
            with np.errstate(over="ignore"):
                features[index] = found[0]
            if check is not None:
                check(index + 1)
        if features is None:
            msg = "features: expected at least one picture"
            raise ValueError(msg)
        return features
