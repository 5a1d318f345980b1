# SPDX-License-Identifier: Apache-2.0
"""How long one picture takes in a graph on this machine: the bare session, nothing around it.

Decoding, the camera's own size, queues and outputs are the station's and not in it. Called by `training.fit_budget`.
"""

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from models.clock import Clock
from models.graphs.features import INPUT_NAME, open_session

_WARM_UP: Final = 3
_FEWEST: Final = 7
_MOST: Final = 40
# A slow graph is measured fewer times.
_LONGEST_S: Final = 2.0


def noise_picture(size_px: int) -> NDArray[np.uint8]:
    """A picture that no operator finds easier than another: uint8 BGR [size, size, 3], the same every time."""
    return np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), np.uint8)


def bare_session_ms(model: onnx.ModelProto | bytes, size_px: int, threads: int, clock: Clock) -> float:
    """Median time of `session.run` with all outputs for one decoded picture of `size_px` × `size_px`, ms.

    Seven to forty turns after three to warm up, on the CPU.
    """
    session = open_session(model, threads)
    feed = {INPUT_NAME: noise_picture(size_px)[None]}
    for _ in range(_WARM_UP):
        session.run(None, feed)
    times_s: list[float] = []
    while len(times_s) < _FEWEST or (len(times_s) < _MOST and sum(times_s) < _LONGEST_S):
        began_s = clock.monotonic_s()
        session.run(None, feed)
        times_s.append(clock.monotonic_s() - began_s)
    return 1e3 * float(np.median(times_s))
