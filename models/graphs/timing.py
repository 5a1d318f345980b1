# SPDX-License-Identifier: Apache-2.0
"""How long one picture takes in a graph on this machine: the bare session, nothing around it.

Decoding, the camera's own size, queues and outputs are the station's and not in it. Called by `training.fit_budget`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from contracts.tiles import Tiles
from models.clock import Clock
from models.graphs.features import INPUT_NAME, open_session

_WARM_UP: Final = 3
_FEWEST: Final = 7
_ENOUGH: Final = 40
# A slow graph is measured fewer times; a fast one for longer than the turn of another process on the same core.
_LONGEST_S: Final = 2.0
_SHORTEST_S: Final = 0.5


@dataclass(frozen=True)
class SessionTime:
    """Median and fastest time of one picture, ms. Far apart, they say that something else ran on the machine."""

    p50_ms: float
    fastest_ms: float


def noise_picture(size_px: int, tiles: Tiles | None = None) -> NDArray[np.uint8]:
    """A picture that no operator finds easier than another: uint8 BGR, as large as the field, the same every time."""
    height, width = (tiles or Tiles()).field_px(size_px)
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def time_session(
    model: onnx.ModelProto | bytes, size_px: int, threads: int, clock: Clock, tiles: Tiles | None = None
) -> SessionTime:
    """Time of `session.run` with all outputs for one decoded picture of the field's size, on the CPU.

    After three turns to warm up forty or more in at least half a second; fewer, but at least seven, where they would
    take longer than two seconds.
    """
    session = open_session(model, threads)
    feed = {INPUT_NAME: noise_picture(size_px, tiles)[None]}
    for _ in range(_WARM_UP):
        session.run(None, feed)
    times_s: list[float] = []
    spent_s = 0.0
    while len(times_s) < _FEWEST or spent_s < (_LONGEST_S if len(times_s) < _ENOUGH else _SHORTEST_S):
        began_s = clock.monotonic_s()
        session.run(None, feed)
        times_s.append(clock.monotonic_s() - began_s)
        spent_s += times_s[-1]
    return SessionTime(1e3 * float(np.median(times_s)), 1e3 * min(times_s))
