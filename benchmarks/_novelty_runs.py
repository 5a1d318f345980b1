# SPDX-License-Identifier: Apache-2.0
"""Runs of the novelty monitor on made-up embeddings. Used by tests and `quality_drift`.

Embeddings: Gaussian with unequal scatter and correlation, material batches that shift the mean by .15 standard
deviations, and one accepted part in 300 with tripled scatter (odd but sound). A new defect kind lies `distance`
standard deviations away in a direction of its own and is accepted.
"""

import copy
import functools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from central.quality.novelty import NoveltyMonitor

Floats = NDArray[np.float64]

_PIECE = 10_000
_BATCH = 2_000


class Embeddings:
    """Embeddings of a station, piece by piece, one part a second."""

    def __init__(self, seed: int, dimensions: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.at = 1_760_000_000.0
        self.mix = self.rng.standard_normal((dimensions, dimensions)) * self.rng.uniform(0.2, 2, dimensions)

    def parts(self, count: int, share: float = 0.0, distance: float = 0.0) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """The next parts: times, embeddings, whether accepted; `share` of them are of the new defect kind."""
        rng, dimensions = self.rng, len(self.mix)
        at = self.at + np.arange(count, dtype=np.float64)
        self.at += count
        own = rng.standard_normal((count, dimensions))
        own[rng.random(count) < 1 / 300] *= 3
        batches = rng.standard_normal((-(-count // _BATCH), dimensions)) * 0.15
        own += np.repeat(batches, _BATCH, 0)[:count]
        is_new = rng.random(count) < share
        own[is_new] += distance * np.ones(dimensions) / np.sqrt(dimensions)
        return at, own @ self.mix, (rng.random(count) < 0.99) | is_new


def referenced(seed: int, dimensions: int) -> tuple[Embeddings, NoveltyMonitor]:
    """A stream and a monitor that just finished its reference."""
    return copy.deepcopy(_referenced(seed, dimensions))


@functools.lru_cache(maxsize=4)
def _referenced(seed: int, dimensions: int) -> tuple[Embeddings, NoveltyMonitor]:
    stream, monitor = Embeddings(seed, dimensions), NoveltyMonitor()
    while not monitor.is_ready:
        monitor.update_many(*stream.parts(_PIECE))
    return stream, monitor


def false_alarms(seeds: Iterable[int], parts: int, dimensions: int) -> int:
    """Signals in so many parts after each reference, in all."""
    found = 0
    for seed in seeds:
        stream, monitor = referenced(seed, dimensions)
        found += sum(len(monitor.update_many(*stream.parts(_PIECE))) for _ in range(parts // _PIECE))
    return found


def delays(
    seeds: Iterable[int], times: int, dimensions: int, distance: float, *, share: float = 0.005, horizon: int = 60_000
) -> Floats:
    """Parts from the first chance of the new defect kind to its signal, inf when none came; float [n]."""
    found = []
    for seed in seeds:
        for each in range(times):
            stream, monitor = referenced(seed, dimensions)
            stream.rng = np.random.default_rng([seed, each])
            monitor.update_many(*stream.parts(int(stream.rng.integers(1, 5_000))))
            began, delay = stream.at, float("inf")
            for _ in range(0, horizon, _PIECE):
                if signals := monitor.update_many(*stream.parts(_PIECE, share, distance)):
                    delay = signals[0].raised_at - began + 1
                    break
            found.append(delay)
    return np.array(found)
