# SPDX-License-Identifier: Apache-2.0
"""Runs one training job: pictures → features → detector → limits → graphs → package → evaluation.

Decides nothing about promotion. `evaluation.json` is written last. The rule of `auto`: mixed when at least
`MIN_DEFECTIVE_PARTS` defective training pictures of two or more physical parts can be read, else memory-bank.
Called by `__main__` (run-job, train).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from contracts.jobs import EvaluationReport, TrainingJob
from contracts.vocabulary import DetectorKind, PartUse, Variant
from models.clock import Clock
from models.data.looks import draw_look, mask_on_grid
from models.data.parts import Gallery, Part, Picture, dataset_digest, read_gallery, read_mask
from models.detectors.base import Detector, Floats, TrainingSet
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import MIN_DEFECTIVE_PARTS, Mixed
from models.errors import InputError, QuantizationError
from models.graphs.export import build_graph
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.quantization import CALIBRATION_PICTURES, quantize
from models.graphs.trunks import Trunk, resolve
from models.limits.placing import place_limits
from models.packages.reading import score_pictures
from models.settings import Settings
from models.training.budget import plan_within
from models.training.finishing import Finish, Learned, Measured, measure, package_and_report
from models.training.progress import Progress, Watch
from models.training.results import leave_results

_log = logging.getLogger(__name__)
# Further looks: enough for a few labels, bounded for many.
_LOOKS_IN_ALL: Final = 160
_LOOKS_A_PART: Final = 6
_SHIFT_PICTURES: Final = 48
_TIMED_PICTURES: Final = 4
_MOST_LOGGED: Final = 20
# Fraction of a training until the front is quantized.
_QUANTIZED: Final = 0.15


@dataclass(frozen=True)
class _Front:
    """One numeric form of the front."""

    variant: Variant
    model: onnx.ModelProto


@dataclass(frozen=True)
class _Work:
    """What all steps of one training share."""

    job: TrainingJob
    gallery: Gallery
    parts: list[Part]
    kind: DetectorKind
    progress: Progress
    has_looks: bool = True


def run_job(
    job: TrainingJob,
    settings: Settings,
    clock: Clock,
    *,
    left_out: Sequence[str] = (),
    watch: Watch | None = None,
    before_last: Callable[[EvaluationReport], None] | None = None,
    beside: Sequence[str] = (),
    budget_s: float | None = None,
    learnt: Callable[[Learned], None] | None = None,
) -> EvaluationReport:
    """Run a job and leave `package/` and `evaluation.json` in its output folder, in place of earlier ones.

    Until the new results are whole the earlier ones stay.

    Args:
        job: what to learn from.
        settings: where weights may come from, and bounds.
        clock: the time.
        left_out: what was left out before the job was made; goes into the report.
        watch: told how far it is.
        before_last: called with the report once the package is whole, before `evaluation.json` says so.
        beside: names of the files that `before_last` writes into the output folder.
        budget_s: how long it may take, s; see `budget` for what is given up first.
        learnt: told what was learnt before it is packaged.

    Raises:
        InputError: the job cannot be done with what it names, or another training writes into its output folder;
            nothing half-written is left.
        CancelledError: asked to stop; nothing half-written is left.
    """
    return leave_results(
        Path(job.output_dir),
        job.training_id,
        clock,
        lambda progress, make_room: _run(
            job, settings, clock, progress, left_out=left_out, budget_s=budget_s, make_room=make_room, learnt=learnt
        ),
        watch=watch,
        before_last=before_last,
        beside=beside,
    )


def _run(
    job: TrainingJob,
    settings: Settings,
    clock: Clock,
    progress: Progress,
    *,
    left_out: Sequence[str],
    budget_s: float | None,
    make_room: Callable[[], None],
    learnt: Callable[[Learned], None] | None,
) -> EvaluationReport:
    started_s = clock.monotonic_s()
    notes: list[str] = []
    # A wrong name is told before minutes are spent on pictures.
    trunk = resolve(settings, job.backbone, job.weights_path, notes)
    progress.enter("reading pictures", 0.05)
    gallery = read_gallery(
        job.images, settings, lambda count: progress.within(count / len(job.images)), left_out=left_out
    )
    notes += gallery.remarks
    for line in gallery.left_out[:_MOST_LOGGED]:
        _log.warning("training_id=%s left_out=%s", job.training_id, line)
    if len(gallery.left_out) > _MOST_LOGGED:
        # All of them are in the report.
        _log.warning("training_id=%s left_out_more=%d", job.training_id, len(gallery.left_out) - _MOST_LOGGED)
    parts = gallery.select(PartUse.TRAIN)
    if not parts:
        raise InputError(
            f"training pictures: none of {len(job.images)} can be used; "
            + ("; ".join(gallery.left_out[:3]) or "all are held out")
        )
    kind = choose_kind(job.detector, parts, notes)
    _log.info(
        "training_id=%s detector=%s backbone=%s source=%s", job.training_id, kind, trunk.name, trunk.weights_source
    )
    work = _Work(job, gallery, parts, kind, progress)
    front = build_front(trunk, size_px=job.size_px, grid=grid_of(job.size_px))
    fronts = _fronts(work, front, notes)
    if budget_s is not None:
        work = _within_budget(work, fronts, budget_s - (clock.monotonic_s() - started_s), clock, notes)
    done, measured = _fit(work, fronts, trunk, notes, started_s)
    if measured.chosen.variant != fronts[0].variant:
        # Bank and limits were fitted on a front that is left out: learn again on the one that stays.
        progress.go_back(_QUANTIZED)
        again, anew = _fit(work, fronts[-1:], trunk, notes, started_s)
        if not measured.takes_back(anew):
            told = f"limits and figures of {anew.chosen.variant} are of a fit of its own, made after that"
            anew.refused, anew.notes = measured.refused, [*measured.notes, told, *anew.notes]
            done, measured = again, anew
    done.notes.extend(measured.notes)
    if learnt is not None:
        learnt(done.learned)
    return package_and_report(done, measured, clock, progress, make_room)


def _fit(
    work: _Work, fronts: list[_Front], trunk: Trunk, notes: list[str], started_s: float
) -> tuple[Finish, Measured]:
    """Learn on the first of the fronts and measure them all."""
    learned = _learn(work, fronts[0].model)
    done = Finish(
        job=work.job, gallery=work.gallery, trunk=trunk, variants=_graphs(work, fronts, learned), learned=learned,
        dataset_sha256=dataset_digest(work.parts), started_s=started_s, notes=[*notes, *learned.notes],
    )  # fmt: skip
    return done, measure(done, work.progress)


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
    if asked is DetectorKind.FOREIGN:
        raise InputError("detector: expected auto, memory-bank or mixed; a foreign graph comes by import-onnx")
    return asked


def grid_of(size_px: int) -> int:
    """Cells a side: one for 8 px, an even number, so that the bank can pool 2 × 2."""
    return max(4, size_px // 16 * 2)


def _fronts(work: _Work, front: onnx.ModelProto, notes: list[str]) -> list[_Front]:
    """INT8 first where it comes about: it is what stations run, so the detector is fitted on it."""
    work.progress.enter("quantizing", _QUANTIZED)
    step = max(1, len(work.parts) // CALIBRATION_PICTURES)
    # Training pictures only, sound and defective, evenly picked: the same every time.
    pictures = [work.gallery.pixels(part) for part in work.parts[::step][:CALIBRATION_PICTURES]]
    exact = _Front(Variant.FP32, front)
    try:
        return [_Front(Variant.INT8_U8S8, quantize(front, pictures)), exact]
    except QuantizationError as error:
        notes.append(f"int8-u8s8: left out, {error}")
        _log.warning("training_id=%s variant=int8-u8s8 left_out=%s", work.job.training_id, error)
        return [exact]


def _within_budget(work: _Work, fronts: list[_Front], left_s: float, clock: Clock, notes: list[str]) -> _Work:
    """The work that fits into the time left, judged by the time that a few pictures take."""
    extractor = FeatureExtractor(fronts[0].model, threads=work.job.threads)
    pictures = [work.gallery.pixels(part) for part in work.parts[:_TIMED_PICTURES]]
    # The first run also prepares the session.
    extractor.extract(pictures[:1], 1)
    started_s = clock.monotonic_s()
    extractor.extract(pictures, len(pictures))
    picture_s = max((clock.monotonic_s() - started_s) / len(pictures), 1e-6)
    has_looks = work.kind is DetectorKind.MIXED
    looks = len(_rows_to_look_at(np.random.default_rng(0), work.parts)) if has_looks else 0
    judged = len(work.gallery.select(PartUse.HOLDOUT)) * len(fronts)
    plan = plan_within(left_s, work.parts, looks=looks, judged=judged, picture_s=picture_s)
    notes += plan.notes
    return replace(work, parts=plan.parts, has_looks=plan.has_looks)


def _graphs(work: _Work, fronts: list[_Front], learned: Learned) -> list[tuple[Variant, bytes]]:
    """The whole graph of each variant. Those beside the first are shifted onto its scale by sound training parts."""
    channels = learned.training.features.shape[1]
    graphs: list[tuple[Variant, bytes]] = []
    sound = [part for part in work.parts if not part.is_defective]
    pictures = [work.gallery.pixels(part) for part in sound[:: max(1, len(sound) // _SHIFT_PICTURES)]]
    for front in fronts:
        graph = build_graph(front.model, learned.detector, channels=channels).SerializeToString()
        if graphs:
            first, mine = (score_pictures(each, pictures, work.job.threads).scores for each in (graphs[0][1], graph))
            shift = float(np.median(first - mine))
            graph = build_graph(front.model, learned.detector, channels=channels, shift=shift).SerializeToString()
        graphs.append((front.variant, graph))
    return graphs


def _learn(work: _Work, front: onnx.ModelProto) -> Learned:
    job = work.job
    extractor = FeatureExtractor(front, threads=job.threads)
    work.progress.enter("extracting features", 0.4)
    is_mixed = work.kind is DetectorKind.MIXED
    detector: Detector = Mixed(threads=job.threads) if is_mixed else MemoryBank()
    training = _training_set(work, extractor, has_looks=is_mixed and work.has_looks)
    work.progress.enter("fitting", 0.7)
    fitted = detector.fit(training, seed=job.seed, check=work.progress.within)
    sound = fitted.cross_fitted_scores[~training.is_defective]
    defective = fitted.cross_fitted_scores[training.is_defective]
    groups = np.array(training.groups)
    limits, notes = place_limits(
        sound, defective, job.limits,
        sound_groups=groups[~training.is_defective].tolist(), defective_groups=groups[training.is_defective].tolist(),
    )  # fmt: skip
    return Learned(
        training, detector, limits, float(np.median(sound)), fitted.notes + notes, fitted.cross_fitted_scores
    )


def _training_set(work: _Work, extractor: FeatureExtractor, *, has_looks: bool) -> TrainingSet:
    gallery, parts, grid = work.gallery, work.parts, grid_of(work.job.size_px)
    rng = np.random.default_rng([work.job.seed, 1])
    rows = _rows_to_look_at(rng, parts) if has_looks else np.zeros(0, np.int64)
    looks = [draw_look(rng) for _ in rows]
    total = len(parts) + len(rows)

    def pictures() -> Iterator[Picture]:
        for part in parts:
            yield gallery.pixels(part)
        for row, look in zip(rows, looks, strict=True):
            yield look.apply(gallery.pixels(parts[row]))

    features = extractor.extract(pictures(), total, lambda count: work.progress.within(count / total))
    masks: dict[int, Floats] = {}
    extra_masks: dict[int, Floats] = {}
    for row, part in enumerate(parts):
        mask = read_mask(part, gallery) if part.is_defective else None
        if mask is None:
            continue
        masks[row] = mask_on_grid(mask, grid)
        for place in np.flatnonzero(rows == row):
            extra_masks[int(place)] = mask_on_grid(looks[place].apply_to_mask(mask), grid)
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
