# SPDX-License-Identifier: Apache-2.0
"""The seam to whatever runs a package's graph, and the record of a loaded package.

Shapes only: opens no file, knows no runtime. `inference.onnx` implements it; the package installer fills
`LoadedPackage`, the loop judges with it.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import PackageManifest
from contracts.vocabulary import Variant


@dataclass(frozen=True)
class Inference:
    """What a graph says of one image.

    `score`: larger is more anomalous, always finite. `heatmap`: float32 h × w on the score's scale.
    `embedding`: float32 [d]. `class_scores`: float32 [k] in the order of the manifest's `defect_classes`,
    None for a package without classes.
    """

    score: float
    heatmap: NDArray[np.float32]
    embedding: NDArray[np.float32]
    class_scores: NDArray[np.float32] | None = None


class InferenceSession(Protocol):
    """One loaded graph. Several threads may run it at once."""

    @property
    def provider(self) -> str:
        """The execution provider that really runs the graph."""
        ...

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        """Judge one image, uint8 H × W × 3 BGR, any H and W ≥ 32.

        Raises:
            InferenceError: wrong shape, a runtime failure or a score that is not finite. The part becomes
                NO_DECISION; the session may be used again.
        """
        ...


@dataclass(frozen=True)
class LoadedPackage:
    """A verified, self-tested package with its open session. Immutable: a switch replaces the whole."""

    package_id: str
    manifest: PackageManifest
    variant: Variant
    session: InferenceSession
