# SPDX-License-Identifier: Apache-2.0
"""What all steps of a training share, and its pictures as features.

Each part once, and defective parts in further looks, beside as many sound ones. Does not learn. Called by `job`;
its sizes by `fit_budget` and `fit_memory`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from contracts.jobs import TrainingJob
from contracts.vocabulary import DetectorKind
from models.data.looks import Look, draw_look, mask_on_grid
from models.data.parts import Gallery, Part, Picture, read_mask
from models.detectors.base import Features, Floats, TrainingSet
from models.detectors.head import HEAD_STEPS
from models.distributed.following import Shown
from models.distributed.leading import Gang
from models.errors import InputError
from models.graphs.features import FeatureExtractor
from models.graphs.quantization import CALIBRATION_PICTURES, evenly
from models.training.checkpoints import Checkpoints, digest_of
from models.training.progress import Progress

# Further looks: enough for a few labels, bounded for many.
_LOOKS_IN_ALL: Final = 160
_LOOKS_A_PART: Final = 6


def grid_of(size_px: int) -> int:
    """Cells a side of one tile: one for 8 px, an even number, so that the bank can pool 2 × 2."""
    return max(4, size_px // 16 * 2)


def cells_of(job: TrainingJob) -> tuple[int, int]:
    """Rows and columns of cells of the whole field."""
    grid = grid_of(job.size_px)
    return job.tiles.rows * grid, job.tiles.columns * grid


@dataclass(frozen=True)
class Work:
    """What all steps of one training share."""

    job: TrainingJob
    gallery: Gallery
    parts: list[Part]
    kind: DetectorKind
    progress: Progress
    stages: tuple[int, ...]
    steps: Checkpoints
    has_looks: bool = True
    head_steps: int = HEAD_STEPS
    # Of a stage that is done once more, for people: what for.
    again: str = ""
    # The other workers; None: there are none.
    gang: Gang | None = None

    @property
    def calibration(self) -> list[Picture]:
        """Training pictures only, sound and defective, evenly picked: the same every time."""
        rows = evenly(len(self.parts), CALIBRATION_PICTURES)
        return [self.gallery.pixels(self.parts[row]) for row in rows]


def training_set(work: Work, front: onnx.ModelProto, *, has_looks: bool) -> TrainingSet:
    """Features of all training pictures by the front, and of further looks at some of them, with masks on the grid."""
    job, gallery, parts, cells = work.job, work.gallery, work.parts, cells_of(work.job)
    rng = np.random.default_rng([job.seed, 1])
    rows = rows_to_look_at(rng, parts) if has_looks else np.zeros(0, np.int64)
    looks = [draw_look(rng) for _ in rows]
    total = len(parts) + len(rows)

    made_from = [front.SerializeToString(deterministic=True), *(part.image.sha256 for part in parts), rows.tolist()]
    if work.gang is not None:
        # Of another number of workers and threads a trunk may round otherwise.
        made_from.append(work.gang.workers)
    shown = [*((part, None) for part in parts), *((parts[row], look) for row, look in zip(rows, looks, strict=True))]
    features = work.steps.array(
        f"features-{digest_of(made_from)[:16]}.npy",
        lambda: _extracted(work, front, shown, lambda count: work.progress.within(count / total)),
    )
    _refuse_endless(work, features, [*parts, *(parts[row] for row in rows)])
    masks: dict[int, Floats] = {}
    extra_masks: dict[int, Floats] = {}
    for row, part in enumerate(parts):
        mask = read_mask(part, gallery) if part.is_defective else None
        if mask is None:
            continue
        masks[row] = mask_on_grid(mask, *cells)
        for place in np.flatnonzero(rows == row):
            extra_masks[int(place)] = mask_on_grid(looks[place].apply_to_mask(mask), *cells)
    return TrainingSet(
        features=features[: len(parts)],
        is_defective=np.array([part.is_defective for part in parts]),
        groups=[part.image.group for part in parts],
        masks=masks,
        extra_features=features[len(parts) :] if len(rows) else None,
        extra_rows=rows,
        extra_masks=extra_masks,
        stages=work.stages,
    )


def _extracted(
    work: Work, front: onnx.ModelProto, shown: Sequence[tuple[Part, Look | None]], check: Callable[[int], None]
) -> Features:
    """By this process, or by all workers."""
    gallery, pace = work.gallery, work.progress.pace
    if work.gang is not None:
        part_at = {part.image.path: part for part, _ in shown}
        pictures = [Shown(part.image.path, look) for part, look in shown]
        content = front.SerializeToString()
        return work.gang.extract(content, pictures, lambda each: gallery.pixels(part_at[each.path]), check, pace)

    def drawn() -> Iterator[Picture]:
        for part, look in shown:
            yield gallery.pixels(part) if look is None else look.apply(gallery.pixels(part))

    with pace.computing():
        extractor = FeatureExtractor(front, threads=work.job.threads)
        return extractor.extract(pace.drawn(drawn()), len(shown), check)


def check_numbers(work: Work, front: onnx.ModelProto) -> None:
    """Refuse a backbone that gives no numbers for the first picture, before minutes are spent on the others.

    Raises:
        InputError: NaN or infinity among its features.
    """
    pictures = [work.gallery.pixels(work.parts[0])]
    _refuse_endless(work, FeatureExtractor(front, threads=work.job.threads).extract(pictures, 1), work.parts[:1])


def _refuse_endless(work: Work, features: Features, shown: Sequence[Part]) -> None:
    """Nothing can be learnt from what is no number; where it came from only the backbone can tell."""
    bad = [row for row in range(len(features)) if not np.isfinite(features[row]).all()]
    if bad:
        given = work.job.weights_path or f"of backbone {work.job.backbone}"
        raise InputError(
            f"features: expected finite numbers up to {np.finfo(np.float16).max:.0f} from the weights {given}, got NaN "
            f"or infinity for {shown[bad[0]].image.path}{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}; give "
            "other weights or another backbone"
        )


def rows_to_look_at(rng: np.random.Generator, parts: list[Part]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Each defective part several times, and as many looks at random sound parts."""
    defective = np.array([row for row, part in enumerate(parts) if part.is_defective], np.int64)
    sound = np.array([row for row, part in enumerate(parts) if not part.is_defective], np.int64)
    if len(defective) == 0 or len(sound) == 0:
        return np.zeros(0, np.int64)
    times = int(np.clip(_LOOKS_IN_ALL // len(defective), 1, _LOOKS_A_PART))
    theirs = np.repeat(defective, times)[:_LOOKS_IN_ALL]
    return np.concatenate([theirs, rng.choice(sound, min(len(theirs), _LOOKS_IN_ALL))])
