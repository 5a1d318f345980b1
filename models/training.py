# SPDX-License-Identifier: Apache-2.0
"""Runs one training job: pictures → features → detector → limits → graphs → package → evaluation.

Decides nothing about promotion. `evaluation.json` is written last. The rule of `auto`: mixed when at least
`MIN_DEFECTIVE_PARTS` defective training pictures of two or more physical parts can be read, else memory-bank.
Called by `__main__` (run-job, train).
"""

import hashlib
import logging
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from contracts.codec import encode
from contracts.jobs import EVALUATION_NAME, PACKAGE_FOLDER, EvaluationReport, TrainingJob
from contracts.manifest import Limits
from contracts.vocabulary import DetectorKind, PartUse, TrainingState
from models.calibration import place_limits
from models.clock import Clock
from models.data.looks import draw_look, mask_on_grid
from models.data.parts import Gallery, Part, Picture, read_gallery, read_mask
from models.detectors.base import Detector, Fitted, Floats, TrainingSet
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import MIN_DEFECTIVE_PARTS, Mixed
from models.errors import CancelledError, InputError
from models.export import build_graph
from models.features import FeatureExtractor
from models.finishing import Finish, finish
from models.progress import Progress, write_whole
from models.settings import Settings
from models.trunks import Trunk, resolve

_log = logging.getLogger(__name__)
# Further looks: enough for a few labels, bounded for many.
_LOOKS_IN_ALL: Final = 160
_LOOKS_A_PART: Final = 6


@dataclass(frozen=True)
class _Learned:
    training: TrainingSet
    detector: Detector
    fitted: Fitted
    limits: Limits
    notes: list[str]


def run_job(job: TrainingJob, settings: Settings, clock: Clock) -> EvaluationReport:
    """Run a job and leave `package/` and `evaluation.json` in its output folder.

    Raises:
        InputError: the job cannot be done with what it names; nothing half-written is left.
        CancelledError: asked to stop; nothing half-written is left.
    """
    folder = Path(job.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    # An older result must not look like this training's.
    (folder / EVALUATION_NAME).unlink(missing_ok=True)
    progress = Progress(folder, job.training_id, clock)
    try:
        report = _run(job, settings, clock, progress)
        write_whole(folder / EVALUATION_NAME, encode(report))
        progress.finish(TrainingState.FINISHED)
    except CancelledError:
        _sweep(folder)
        progress.finish(TrainingState.CANCELLED, "asked to stop")
        raise
    except BaseException as error:
        _sweep(folder)
        progress.finish(TrainingState.FAILED, str(error) or type(error).__name__)
        raise
    return report


def _sweep(folder: Path) -> None:
    """A stopped training leaves no package, whole or half: without `evaluation.json` nobody may take it."""
    shutil.rmtree(folder / PACKAGE_FOLDER, ignore_errors=True)
    shutil.rmtree(folder / f".{PACKAGE_FOLDER}.part", ignore_errors=True)
    (folder / EVALUATION_NAME).unlink(missing_ok=True)


def _run(job: TrainingJob, settings: Settings, clock: Clock, progress: Progress) -> EvaluationReport:
    started_s = clock.monotonic_s()
    notes: list[str] = []
    progress.enter("reading pictures", 0.05)
    gallery = read_gallery(job.images, settings, lambda count: progress.within(count / len(job.images)))
    for line in gallery.left_out:
        _log.warning("training_id=%s left_out=%s", job.training_id, line)
    parts = gallery.select(PartUse.TRAIN)
    if not parts:
        raise InputError(
            f"training pictures: none of {len(job.images)} can be used; {'; '.join(gallery.left_out[:3]) or 'all are held out'}"
        )
    kind = choose_kind(job.detector, parts, notes)
    trunk = resolve(settings, job.backbone, job.weights_path, notes)
    _log.info("training_id=%s detector=%s backbone=%s source=%s", job.training_id, kind, trunk.name, trunk.weights_source)
    learned = _learn(job, gallery, parts, trunk, kind, progress)
    graph, signature = build_graph(
        trunk, learned.detector, size_px=job.size_px, grid=_grid(job), channels=learned.training.features.shape[1]
    )
    return finish(
        Finish(
            job=job, settings=settings, gallery=gallery, trunk=trunk, detector=learned.detector, graph=graph,
            signature=signature, limits=learned.limits, typical_sound=_typical_sound(learned),
            dataset_sha256=dataset_digest(parts), started_s=started_s, notes=notes + learned.notes,
        ),
        clock,
        progress,
    )  # fmt: skip


def choose_kind(asked: DetectorKind, parts: list[Part], notes: list[str]) -> DetectorKind:
    """The rule of `auto`, see the module. Asking for `classifier` is answered with what there is."""
    defective = [part for part in parts if part.is_defective]
    is_enough = len(defective) >= MIN_DEFECTIVE_PARTS and len({part.image.group for part in defective}) > 1
    if asked is DetectorKind.AUTO:
        kind = DetectorKind.MIXED if is_enough else DetectorKind.MEMORY_BANK
        notes.append(
            f"detector: auto chose {kind}: {len(defective)} defective training pictures, "
            f"mixed needs {MIN_DEFECTIVE_PARTS} of at least two parts"
        )
        return kind
    if asked is DetectorKind.CLASSIFIER:
        raise InputError("detector: expected auto, memory-bank or mixed; this version has no classifier")
    return asked


def _grid(job: TrainingJob) -> int:
    """Cells a side: one for 8 px, an even number, so that the bank can pool 2 × 2."""
    return max(4, job.size_px // 16 * 2)


def _learn(
    job: TrainingJob, gallery: Gallery, parts: list[Part], trunk: Trunk, kind: DetectorKind, progress: Progress
) -> _Learned:
    extractor = FeatureExtractor(trunk, size_px=job.size_px, grid=_grid(job), threads=job.threads)
    progress.enter("extracting features", 0.35)
    detector: Detector = MemoryBank() if kind is DetectorKind.MEMORY_BANK else Mixed(threads=job.threads)
    training = _training_set(job, gallery, parts, extractor, progress, has_looks=kind is DetectorKind.MIXED)
    progress.enter("fitting", 0.65)
    fitted = detector.fit(training, seed=job.seed, check=progress.within)
    sound = fitted.cross_fitted_scores[~training.is_defective]
    defective = fitted.cross_fitted_scores[training.is_defective]
    limits, notes = place_limits(sound, defective, job.limits)
    return _Learned(training, detector, fitted, limits, fitted.notes + notes)


def _typical_sound(learned: _Learned) -> float:
    scores = learned.fitted.cross_fitted_scores[~learned.training.is_defective]
    return statistics.median(float(score) for score in scores)


def _training_set(
    job: TrainingJob,
    gallery: Gallery,
    parts: list[Part],
    extractor: FeatureExtractor,
    progress: Progress,
    *,
    has_looks: bool,
) -> TrainingSet:
    rng = np.random.default_rng([job.seed, 1])
    rows = _rows_to_look_at(rng, parts) if has_looks else np.zeros(0, np.int64)
    looks = [draw_look(rng) for _ in rows]
    total = len(parts) + len(rows)

    def pictures() -> Iterator[Picture]:
        for part in parts:
            yield gallery.pixels(part)
        for row, look in zip(rows, looks, strict=True):
            yield look.apply(gallery.pixels(parts[row]))

    features = extractor.extract(pictures(), lambda count: progress.within(count / total))
    masks: dict[int, Floats] = {}
    extra_masks: dict[int, Floats] = {}
    for row, part in enumerate(parts):
        mask = read_mask(part, gallery) if part.is_defective else None
        if mask is None:
            continue
        masks[row] = mask_on_grid(mask, extractor.grid)
        for place in np.flatnonzero(rows == row):
            extra_masks[int(place)] = mask_on_grid(looks[place].apply_to_mask(mask), extractor.grid)
    return TrainingSet(
        features=features[: len(parts)],
        is_defective=np.array([part.is_defective for part in parts]),
        groups=[part.image.group for part in parts],
        masks=masks,
        extra_features=features[len(parts) :] if len(rows) else None,
        extra_rows=rows,
        extra_masks=extra_masks,
    )


def _rows_to_look_at(rng: np.random.Generator, parts: list[Part]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Each defective part several times, and as many looks at random sound parts."""
    defective = np.array([row for row, part in enumerate(parts) if part.is_defective], np.int64)
    sound = np.array([row for row, part in enumerate(parts) if not part.is_defective], np.int64)
    if len(defective) == 0 or len(sound) == 0:
        return np.zeros(0, np.int64)
    times = int(np.clip(_LOOKS_IN_ALL // len(defective), 1, _LOOKS_A_PART))
    theirs = np.repeat(defective, times)[:_LOOKS_IN_ALL]
    return np.concatenate([theirs, rng.choice(sound, min(len(theirs), _LOOKS_IN_ALL))])


def dataset_digest(parts: list[Part]) -> str:
    """SHA-256 over the judged training pictures, in an order of their own."""
    lines = sorted(f"{part.image.sha256} {part.image.judgement} {part.image.defect_class or ''}" for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
