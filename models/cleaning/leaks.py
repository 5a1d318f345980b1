# SPDX-License-Identifier: Apache-2.0
"""Pictures that show the same, on one side of the split: what is held out is not learnt under another name.

Part ids keep the pictures of one part together; near-duplicates are those that they missed. A few are left out of what
trains; many mean that the split is not by part, and the training is refused. For jobs of central, whose parts people
and lines name. Exact copies are settled later, by `data.parts`. Called by `job_command`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, PartUse
from models.cleaning.likeness import LEAST_PICTURES, joined, near_pairs
from models.cleaning.measures import look_of_picture
from models.cleaning.seen import Eye
from models.data.pictures import read_picture, told
from models.errors import InputError
from models.graphs.trunks import SHIPPED_NAME, resolve
from models.settings import Settings

_log = logging.getLogger(__name__)

# Of the training pictures. On real tiles, where six exposures of some parts bear two names, it was 3 %.
MOST_LEAKED: Final = 0.1


@dataclass(frozen=True)
class Apart:
    """Pictures of which none shows what one on the other side does, and a line for each that was left out."""

    images: list[TrainingImage]
    left_out: list[str]


def keep_apart(
    images: Sequence[TrainingImage], settings: Settings, *, threads: int, check: Callable[[int], None] | None = None
) -> Apart:
    """Leave out training pictures that show what a held-out one does; parts that look the same become one group.

    Args:
        images: of a job.
        settings: bounds of a file.
        threads: of the session that looks at the pictures.
        check: told how many were looked at; may raise to stop.

    Raises:
        InputError: so many that the split cannot be by part; says how many, and two of them.
    """
    # What cannot be read is told by the training itself, and UNSURE ones never train.
    rows, looks, places = [], [], []
    if len({image.use for image in images}) > 1 and len(images) >= LEAST_PICTURES:
        # The shipped trunk, whatever the training learns with: the same pictures are the same on every machine.
        eye = Eye(resolve(settings, SHIPPED_NAME, None, []), threads=threads)
        for row, image in enumerate(images):
            if check is not None:
                check(row)
            try:
                picture = read_picture(Path(image.path), settings, sha256=image.sha256)
            except InputError:
                continue
            if image.judgement is not Judgement.UNSURE:
                rows.append(row)
                looks.append(look_of_picture(picture))
                places.append(eye.look(picture)[0])
    if not rows:
        return Apart(list(images), [])
    pairs = [(rows[one], rows[other]) for one, other in near_pairs(np.stack(looks), np.stack(places))]
    return _apart(images, pairs)


def _apart(images: Sequence[TrainingImage], pairs: Sequence[tuple[int, int]]) -> Apart:
    leaked: dict[int, int] = {}
    for one, other in pairs:
        if images[one].use is not images[other].use:
            trained, tested = (one, other) if images[one].use is PartUse.TRAIN else (other, one)
            leaked.setdefault(trained, tested)
    trains = sum(image.use is PartUse.TRAIN for image in images)
    if len(leaked) > MOST_LEAKED * trains:
        trained, tested = next(iter(leaked.items()))
        raise InputError(
            f"leak: {len(leaked)} of {trains} training pictures show the same as held-out ones, expected at most "
            f"{MOST_LEAKED:.0%} (part {images[trained].group!r} trains, {images[tested].group!r} is held out): one "
            "part under several names; give all its pictures the same part id"
        )
    left_out = [
        f"{told(Path(images[trained].path))}: shows the same as {told(Path(images[tested].path))}, which is held out; "
        "not used to train"
        for trained, tested in sorted(leaked.items())
    ]
    # On one side they are one part, so that no fold has seen what it judges.
    places: dict[str, int] = {}
    of_group = [places.setdefault(image.group, row) for row, image in enumerate(images)]
    same = [(of_group[one], of_group[other]) for one, other in pairs if images[one].use is images[other].use]
    first = joined(len(images), same)
    kept = [
        image.model_copy(update={"group": images[first[of_group[row]]].group})
        for row, image in enumerate(images)
        if row not in leaked
    ]
    if pairs:
        _log.info("near-duplicates pairs=%d left_out=%d", len(pairs), len(left_out))
    return Apart(kept, left_out)
