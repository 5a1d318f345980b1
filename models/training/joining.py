# SPDX-License-Identifier: Apache-2.0
"""Package graphs of several fronts around one learned detector, all on the scale of the one it was fitted on.

A quantized trunk shifts all scores by a little; the median shift on sound training pictures is taken off, so that one
pair of limits serves all variants. Class scores are brought to those of the first in the same way. Places no limits.
Called by `job`.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from models.detectors.base import Detector
from models.detectors.class_names import ClassNames
from models.detectors.embedding import Embedding
from models.graphs.export import build_graph
from models.packages.reading import Scored, score_pictures


class Joiner:
    """Joins fronts to a detector.

    Args:
        detector: fitted.
        channels: length of a cell's features.
        pictures: sound training pictures, uint8 BGR.
        threads: of the sessions.
        names: of defect classes, where there are any.
        embedding: what stations report of a part.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        channels: int,
        pictures: Sequence[NDArray[np.uint8]],
        threads: int,
        names: ClassNames | None = None,
        embedding: Embedding | None = None,
    ) -> None:
        self._detector, self._channels, self._names, self._embedding = detector, channels, names, embedding
        self._pictures, self._threads = pictures, threads
        self._first: Scored | None = None

    def bare(self, front: onnx.ModelProto) -> bytes:
        """The whole graph of a front, its scores as they come."""
        return self._built(front, 0.0, self._names)

    def whole(self, front: onnx.ModelProto, first: bytes) -> bytes:
        """The whole graph of a front on the scale of `first`, which must be the same one at every call."""
        if self._first is None:
            self._first = score_pictures(first, self._pictures, self._threads)
        mine, names = score_pictures(self.bare(front), self._pictures, self._threads), self._names
        if names is not None and self._first.class_scores is not None and mine.class_scores is not None:
            names = names.aligned(self._first.class_scores, mine.class_scores)
        return self._built(front, float(np.median(self._first.scores - mine.scores)), names)

    def _built(self, front: onnx.ModelProto, shift: float, names: ClassNames | None) -> bytes:
        graph = build_graph(
            front, self._detector, channels=self._channels, shift=shift, names=names, embedding=self._embedding
        )
        return bytes(graph.SerializeToString())
