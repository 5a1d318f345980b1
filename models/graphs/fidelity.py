# SPDX-License-Identifier: Apache-2.0
"""How much of what a float front says of pictures another form of it keeps.

A detector that is fitted on a ruined front knows its noise, and fp32 then looks the worse of the two; so the fronts
themselves are compared, before anything is learnt. Decides nothing. Called by `training`.
"""

import numpy as np
import onnx

from models.graphs.features import FeatureExtractor, Picture

# The ratio of two sums of squares is undefined where the float front says the same of all cells.
_LEAST_VARIANCE = 1e-12


def kept_variance(exact: onnx.ModelProto, other: onnx.ModelProto, pictures: list[Picture], *, threads: int) -> float:
    """Share of the variance of the float front's features, over cells and pictures, that the other one explains.

    1: the same features; 0: no more than their mean; below: worse than that. Each channel counts by its variance.
    """
    first, second = (
        FeatureExtractor(front, threads=threads).extract(pictures, len(pictures)).astype(np.float64)
        for front in (exact, other)
    )
    spread = ((first - first.mean((0, 2, 3), keepdims=True)) ** 2).sum()
    apart = ((first - second) ** 2).sum()
    if not np.isfinite(apart):
        return float("-inf")
    return float(1 - apart / max(spread, _LEAST_VARIANCE))
