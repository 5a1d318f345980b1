# SPDX-License-Identifier: Apache-2.0
"""Which detector each kind is, and which of them learn from labelled defects. Called by `training`."""

from dataclasses import replace
from typing import Final

from contracts.vocabulary import DetectorKind
from models.detectors.base import Detector
from models.detectors.classifier import Classifier
from models.detectors.head import HEAD_STEPS, HeadSettings
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed

# These get further looks at defective parts, and name their classes.
LEARN_FROM_LABELS: Final = (DetectorKind.MIXED, DetectorKind.CLASSIFIER)


def make_detector(kind: DetectorKind, *, threads: int, head_steps: int = HEAD_STEPS) -> Detector:
    """A detector that has learnt nothing yet; kinds that are no detector of ours give a memory bank.

    `head_steps`: of those that have a head; 0: the mixed one has none.
    """
    settings = HeadSettings(threads=threads, steps=head_steps)
    if kind is DetectorKind.MIXED:
        return Mixed(settings=settings)
    # Synthetic anomalies at the least weight: labels are what a classifier has plenty of.
    return Classifier(replace(settings, enough_labels=1)) if kind is DetectorKind.CLASSIFIER else MemoryBank()
