# SPDX-License-Identifier: Apache-2.0
"""Puts what different opinions say on one scale: evidence is near 0 for sound parts and never below it.

So a sum of opinions lets none of them veto another. Used by `memory_bank` and `mixed`.
"""

from dataclasses import dataclass

import numpy as np

from models.detectors.base import Floats
from models.graphs.writer import GraphWriter


@dataclass(frozen=True)
class Scale:
    """Evidence begins softly at `offset` and rises by 1 with every `spread` beyond it."""

    offset: float = 0.0
    spread: float = 1.0

    @classmethod
    def fit(cls, sound: Floats, *, end: float, margin: float = 0.0) -> "Scale":
        """From values of sound parts the scale was not fitted on: begins `margin` reaches beyond their `end` quantile.

        A reach is the distance from their middle to their end; evidence rises by 1 with every half of it.
        """
        middle, high = np.quantile(sound, [0.5, end])
        reach = float(max(high - middle, 1e-3))
        return cls(float(high) + margin * reach, reach / 2)

    def evidence(self, values: Floats) -> Floats:
        """Any shape; above 0."""
        raised: Floats = np.logaddexp(0, (values - self.offset) / self.spread).astype(np.float32)
        return raised

    def write(self, writer: GraphWriter, values: str, weight: float = 1.0) -> str:
        """`weight` times the evidence, in the graph."""
        centred = writer.op("Sub", [values, writer.constant(self.offset)])
        raised = writer.op("Softplus", [writer.op("Mul", [centred, writer.constant(1 / self.spread)])])
        return raised if weight == 1.0 else writer.op("Mul", [raised, writer.constant(weight)])
