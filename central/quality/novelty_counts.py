# SPDX-License-Identifier: Apache-2.0
"""What a novelty monitor says, in counts with their denominators, and how it counts what is usual.

Pure; keeps nothing. Called by `quality/novelty.py` alone; its answers are worded by `services/watches/novelty.py`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK: Final = 250
SPAN_BLOCKS: Final = 8
# What is not yet of interest: so much more often than in the reference.
_MARGIN: Final = 1.1


@dataclass(frozen=True)
class NoveltySignal:
    """Unusual parts have become more frequent among the accepted ones.

    Attributes:
        raised_at: capture time of the part that completed the evidence, seconds since the epoch, UTC.
        onset: when it most likely began, same unit.
        unusual: how many of the `parts` accepted since then are unusual; of more than 20,000 the latest are counted.
        unusual_before: the same among the `parts_before` of the reference; 0 is no promise that none ever comes.
        is_crowded: whether they lie in one direction, as a new kind would, or just far away.
    """

    raised_at: float
    onset: float
    unusual: int
    parts: int
    unusual_before: int
    parts_before: int
    is_crowded: bool

    @property
    def rate(self) -> float:
        """Share of the accepted parts since the onset that are unusual."""
        return self.unusual / self.parts

    @property
    def usual_rate(self) -> float:
        """The same share in the reference."""
        return self.unusual_before / self.parts_before


@dataclass(frozen=True)
class NoveltyStanding:
    """How many accepted parts were unusual, in the reference and lately; unusual: beyond what one in 100 of it was.

    Attributes:
        unusual_before: of the reference's `parts_before`, those that tell how far is far not counted.
        unusual_since: of the `parts_since` in blocks that began since the moment asked about, 20,000 parts at most.
    """

    unusual_before: int
    parts_before: int
    unusual_since: int
    parts_since: int


def usual_shares(counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Share, what counts as usual, and variance over mean of spans, from counts of the reference's blocks [k, rows]."""
    whole = len(counts) // SPAN_BLOCKS * SPAN_BLOCKS
    if whole < 4 * SPAN_BLOCKS:
        # Never called unusual: too few blocks to know what is.
        return np.zeros(counts.shape[1]), np.ones(counts.shape[1]), np.ones(counts.shape[1])
    spans = counts[:whole].reshape(-1, SPAN_BLOCKS, counts.shape[1]).sum(1)
    scatter = np.maximum(1.0, spans.var(0) / np.maximum(spans.mean(0), 1e-12))
    total, parts = counts.sum(0), len(counts) * BLOCK
    return total / parts, _MARGIN * (total + 1.645 * np.sqrt(scatter * total) + 1.4) / parts, scatter
