# SPDX-License-Identifier: Apache-2.0
"""Which detector each kind is, and which of them learn from labelled defects. Called by `training`."""

from dataclasses import replace
from typing import Final

import onnx

from contracts.vocabulary import DetectorKind
from models.detectors.base import Detector
from models.detectors.classifier import Classifier
from models.detectors.head import HEAD_STEPS, HeadSettings, HeadTrainer, train_alone
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed
from models.detectors.upper import Upper, upper_of
from models.graphs.features import channels_a_mean

# These get further looks at defective parts, and name their classes.
LEARN_FROM_LABELS: Final = (DetectorKind.MIXED, DetectorKind.CLASSIFIER)


def upper_for(kind: DetectorKind, fragment: onnx.ModelProto) -> Upper | None:
    """The trunk's own layers that a detector of this kind trains on with its head; None: none.

    A classifier keeps to the features as they are: of it this has not been measured. Of a wide trunk features are means
    of several channels, from which its layers cannot go on.
    """
    return upper_of(fragment) if kind is DetectorKind.MIXED and channels_a_mean(fragment) == 1 else None


def make_detector(
    kind: DetectorKind,
    *,
    threads: int,
    head_steps: int = HEAD_STEPS,
    trainer: HeadTrainer = train_alone,
    upper: Upper | None = None,
) -> Detector:
    """A detector that has learnt nothing yet; kinds that are no detector of ours give a memory bank.

    `head_steps`: of those that have a head; 0: the mixed one has none. `trainer`: how they get it.
    `upper`: the trunk's own layers that a mixed detector trains on with its head.
    """
    settings = HeadSettings(threads=threads, steps=head_steps)
    if kind is DetectorKind.MIXED:
        return Mixed(settings=replace(settings, upper=upper), trainer=trainer)
    # Synthetic anomalies at the least weight: labels are what a classifier has plenty of.
    if kind is DetectorKind.CLASSIFIER:
        return Classifier(replace(settings, enough_labels=1), trainer=trainer)
    return MemoryBank()
