# SPDX-License-Identifier: Apache-2.0
"""The pictures over which a graph is run that learns nothing here: read them, find the sound ones, tell the verdicts.

Runs no graph. Called by `importing`, `import_package` and `quantizing`.
"""

from collections.abc import Iterable, Sequence

from contracts.jobs import HoldoutVerdict, TrainingImage
from contracts.manifest import Limits
from models.data.parts import Gallery, Part, read_gallery
from models.errors import InputError
from models.packages.reading import verdict_of
from models.settings import Settings
from models.training.progress import Progress


def read_pictures(
    images: Sequence[TrainingImage], settings: Settings, progress: Progress, *, until: float, left_out: Sequence[str]
) -> Gallery:
    """Read them, which takes until the fraction `until` of the whole.

    Raises:
        InputError: as `read_gallery`.
    """
    progress.enter("reading pictures", until)
    return read_gallery(images, settings, lambda count: progress.within(count / len(images)), left_out=left_out)


def sound_ones(parts: Sequence[Part], gallery: Gallery, *, wanted: str, of: int, remedy: str) -> list[Part]:
    """The sound ones among these.

    Args:
        parts: of the training side.
        gallery: says what was left out.
        wanted: what for, as a person reads it.
        of: how many pictures were given.
        remedy: what to do where nothing was left out.

    Raises:
        InputError: there are none.
    """
    sound = [part for part in parts if not part.is_defective]
    if not sound:
        raise InputError(
            f"images: expected sound {wanted}, got none among {of}; {'; '.join(gallery.left_out[:3]) or remedy}"
        )
    return sound


def verdicts_on(scored: Iterable[tuple[Part, float]], limits: Limits) -> list[HoldoutVerdict]:
    """What a station would say of held-out pictures by their scores, beside what they are."""
    return [
        HoldoutVerdict(
            sha256=part.image.sha256, group=part.image.group, judgement=part.image.judgement,
            defect_class=part.image.defect_class, candidate_score=float(score),
            candidate_verdict=verdict_of(float(score), limits),
        )
        for part, score in scored
    ]  # fmt: skip
