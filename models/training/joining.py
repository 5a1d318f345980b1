# SPDX-License-Identifier: Apache-2.0
"""Package graphs of several fronts around one learned detector, all on the scale of the one it was fitted on.

A quantized trunk shifts all scores by a little; the median shift on sound training pictures is taken off, so that one
pair of limits serves all variants. Places no limits. Called by `job` and `quantizing`.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from models.detectors.base import Detector, Floats
from models.graphs.export import build_graph
from models.packages.reading import score_pictures


class Joiner:
    """Joins fronts to a detector.

    Args:
        detector: fitted.
        channels: length of a cell's features.
        pictures: sound training pictures, uint8 BGR.
        threads: of the sessions.
    """

    def __init__(
        self, detector: Detector, *, channels: int, pictures: Sequence[NDArray[np.uint8]], threads: int
    ) -> None:
        self._detector, self._channels = detector, channels
        self._pictures, self._threads = pictures, threads
        self._first: Floats | None = None

    def bare(self, front: onnx.ModelProto) -> bytes:
        """The whole graph of a front, its scores as they come."""
        return bytes(build_graph(front, self._detector, channels=self._channels).SerializeToString())

    def whole(self, front: onnx.ModelProto, first: bytes) -> bytes:
        """The whole graph of a front on the scale of `first`, which must be the same one at every call."""
        shift = self._shift(self.bare(front), first)
        return bytes(build_graph(front, self._detector, channels=self._channels, shift=shift).SerializeToString())

    def _shift(self, graph: bytes, first: bytes) -> float:
        if self._first is None:
            self._first = score_pictures(first, self._pictures, self._threads).scores
        mine = score_pictures(graph, self._pictures, self._threads).scores
        return float(np.median(self._first - mine))
