# SPDX-License-Identifier: Apache-2.0
"""Which detector each kind is, and which of them learn from labelled defects. Called by `training`."""

from typing import Final

from contracts.vocabulary import DetectorKind
from models.detectors.base import Detector
from models.detectors.classifier import Classifier
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed

# These get further looks at defective parts, and name their classes.
LEARN_FROM_LABELS: Final = (DetectorKind.MIXED, DetectorKind.CLASSIFIER)


def make_detector(kind: DetectorKind, *, threads: int) -> Detector:
    """A detector that has learnt nothing yet; kinds that are no detector of ours give a memory bank."""
    if kind is DetectorKind.MIXED:
        return Mixed(threads=threads)
    return Classifier(threads=threads) if kind is DetectorKind.CLASSIFIER else MemoryBank()
