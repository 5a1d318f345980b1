# SPDX-License-Identifier: Apache-2.0
"""Whether there are enough pictures to learn from, told before minutes are spent on their features.

The detectors ask the same of what they get and stay the last word; this is said earlier, of the pictures as they are
listed and again of those that could be read. Reads none. Called by `commands` and `job`.
"""

from collections.abc import Sequence
from typing import Final

from contracts.jobs import TrainingImage
from contracts.vocabulary import DetectorKind, Judgement, PartUse
from models.detectors import classifier, mixed
from models.detectors.base import MIN_SOUND_PARTS
from models.errors import InputError
from models.wording import counted

_MOST_TOLD: Final = 3


def check_enough(asked: DetectorKind, images: Sequence[TrainingImage], left_out: Sequence[str]) -> None:
    """Of the pictures of the training side. None at all is the caller's to tell.

    Args:
        asked: the detector; `auto` needs no labelled defects.
        images: pictures of either side of the split.
        left_out: what was left out so far, for whoever looks for the missing ones.

    Raises:
        InputError: too few for any detector, or for the one that was asked for.
    """
    training = [image for image in images if image.use is PartUse.TRAIN]
    defective = [image for image in training if image.judgement is Judgement.DEFECTIVE]
    if not training:
        return
    # Of those that nobody was sure of nothing is learnt.
    sound = sum(image.judgement is Judgement.GOOD for image in training)
    told = f" (left out: {'; '.join(left_out[:_MOST_TOLD])})" if left_out else ""
    if sound < MIN_SOUND_PARTS:
        raise InputError(
            f"sound training parts: expected at least {MIN_SOUND_PARTS}, got {sound}{told}; "
            f"add {counted(MIN_SOUND_PARTS - sound, 'more picture')} of sound parts"
        )
    if asked is DetectorKind.MIXED and len(defective) < mixed.MIN_DEFECTIVE_PARTS:
        raise InputError(
            f"defective training parts: mixed expects at least {mixed.MIN_DEFECTIVE_PARTS}, got "
            f"{len(defective)}{told}; label more, or use memory-bank"
        )
    parts = len({image.group for image in defective})
    if asked is DetectorKind.MIXED and parts < mixed.MIN_DEFECTIVE_GROUPS:
        raise InputError(
            f"defective training parts: mixed expects pictures of at least {mixed.MIN_DEFECTIVE_GROUPS} parts, got "
            f"{len(defective)} of one{told}; label another part, or use memory-bank"
        )
    if asked is DetectorKind.CLASSIFIER and parts < classifier.MIN_DEFECTIVE_PARTS:
        raise InputError(
            f"defective training parts: classifier expects at least {classifier.MIN_DEFECTIVE_PARTS}, got {parts} "
            f"({counted(len(defective), 'picture')}){told}; label {classifier.MIN_DEFECTIVE_PARTS - parts} more, or "
            "use mixed or memory-bank"
        )
