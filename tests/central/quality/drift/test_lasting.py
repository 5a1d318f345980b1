# SPDX-License-Identifier: Apache-2.0
"""A shift that lasts is raised once, whatever the whitening makes of it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from central.quality.drift import CHANNELS, DriftMonitor

LEVEL = np.array([0.2, 120.0, 40.0, 300.0, -3.0])
SCATTER = np.array([0.02, 1.0, 0.3, 8.0, 0.2])
TAKT_S = 1.8
REFERENCE = int(1.05 * 86_400 / TAKT_S)


def parts(rng: np.random.Generator, count: int, memory: float) -> dict[str, NDArray[np.float64]]:
    """Channels that wander by a first-order process over blocks of 30 parts; `memory` below 0 swings to and fro."""
    blocks = np.zeros((count // 30 + 1, 5))
    for row in range(1, len(blocks)):
        blocks[row] = memory * blocks[row - 1] + 0.3 * rng.normal(size=5)
    values = LEVEL + SCATTER * (rng.normal(size=(count, 5)) + np.repeat(blocks, 30, 0)[:count])
    return {name: values[:, column] for column, name in enumerate(CHANNELS)}


@pytest.mark.parametrize("memory", [-0.4, 0.0, 0.6])
@pytest.mark.parametrize("seed", [0, 4])
def test_shift_that_lasts_is_raised_once_and_one_that_goes_further_again(memory: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    monitor = DriftMonitor(reference_days=1.0)
    at = np.asarray(TAKT_S * np.arange(REFERENCE + 9_000), np.float64)
    assert monitor.update_many(at[:REFERENCE], ["p"] * REFERENCE, parts(rng, REFERENCE, memory)) == []
    assert monitor.reference.is_ready
    after = parts(rng, 9_000, memory)
    after["brightness"][:6_000] -= 12.0
    after["brightness"][6_000:] -= 24.0
    first, second = monitor.update_many(at[REFERENCE:], ["p"] * 9_000, after)
    for signal, began, size in ((first, REFERENCE, -12.0), (second, REFERENCE + 6_000, -24.0)):
        assert signal.channels[0] == "brightness"
        assert abs(signal.onset - at[began]) <= 60 * TAKT_S
        assert abs(signal.sizes["brightness"] - size) < 2.0
