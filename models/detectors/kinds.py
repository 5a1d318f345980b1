# SPDX-License-Identifier: Apache-2.0
"""Which detector each kind is, and which of them learn from labelled defects. Called by `training`."""

from dataclasses import replace
from typing import Final

from contracts.vocabulary import DetectorKind
from models.detectors.base import Detector
from models.detectors.classifier import Classifier
from models.detectors.head import HEAD_STEPS, HeadSettings, HeadTrainer, train_alone
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed

# These get further looks at defective parts, and name their classes.
LEARN_FROM_LABELS: Final = (DetectorKind.MIXED, DetectorKind.CLASSIFIER)


def make_detector(
    kind: DetectorKind, *, threads: int, head_steps: int = HEAD_STEPS, trainer: HeadTrainer = train_alone
) -> Detector:
    """A detector that has learnt nothing yet; kinds that are no detector of ours give a memory bank.

    `head_steps`: of those that have a head; 0: the mixed one has none. `trainer`: how they get it.
    """
    settings = HeadSettings(threads=threads, steps=head_steps)
    if kind is DetectorKind.MIXED:
        return Mixed(settings=settings, trainer=trainer)
    # Synthetic anomalies at the least weight: labels are what a classifier has plenty of.
    if kind is DetectorKind.CLASSIFIER:
        return Classifier(replace(settings, enough_labels=1), trainer=trainer)
    return MemoryBank()
