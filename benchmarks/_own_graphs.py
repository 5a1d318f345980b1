# SPDX-License-Identifier: Apache-2.0
"""Our graphs for a question of time alone: a memory bank fitted in this process, nothing judged, nothing packaged.

For what no training makes: a bank at the peer's grid, and INT8 of a backbone with random weights, which the rules of a
training might leave out. Used by `latency`.
"""

from typing import Final
from unittest import mock

import numpy as np
import onnx
from numpy.typing import NDArray

from contracts.vocabulary import Variant
from models.detectors import cells
from models.detectors.base import TrainingSet
from models.detectors.memory_bank import MemoryBank
from models.graphs.export import build_graph
from models.graphs.features import FeatureExtractor, build_front, stage_channels
from models.graphs.quantization import CALIBRATION_PICTURES, evenly, quantize
from models.graphs.trunks import Trunk

SIZE_PX: Final = 256
GRID: Final = SIZE_PX // 8


def own_graphs(trunk: Trunk, sound: list[NDArray[np.uint8]], *, is_pooled: bool = True) -> dict[Variant, bytes]:
    """FP32 and INT8 of one fit on sound pictures; not pooled: the bank's cells are those of stride 8, as the peer's."""
    front = build_front(trunk, size_px=SIZE_PX, grid=GRID)
    small = quantize(front, [sound[row] for row in evenly(len(sound), CALIBRATION_PICTURES)])
    features = FeatureExtractor(small, threads=2).extract(sound, len(sound))
    training = TrainingSet(
        features,
        np.zeros(len(sound), np.bool_),
        [str(row) for row in range(len(sound))],
        stages=stage_channels(trunk),
    )
    bank = MemoryBank()

    def whole(part: onnx.ModelProto) -> bytes:
        return bytes(build_graph(part, bank, channels=features.shape[1]).SerializeToString())

    # No training offers cells that are not pooled: they cost four times the product.
    with mock.patch.object(cells, "POOL", cells.POOL if is_pooled else 1):
        bank.fit(training, seed=0, check=lambda _share: None)
        return {Variant.INT8_U8S8: whole(small), Variant.FP32: whole(front)}
