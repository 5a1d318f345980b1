# SPDX-License-Identifier: Apache-2.0
"""From a learned detector to a package: measure on held-out pictures, choose variants, write, report.

A quantized variant that loses more than `MOST_AUROC_LOST` beyond chance, or strays too far on golden images, is left
out and the report says so. Does not learn and does not place limits. Called by `job`.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.jobs import PACKAGE_FOLDER, EvaluationReport, HoldoutVerdict, TrainingJob, VariantMeasured
from contracts.manifest import FileRole, GoldenSet, Limits, Lineage, PackageManifest, PackageVariant
from contracts.vocabulary import PartUse, Variant, Verdict
from models import __version__
from models.clock import Clock
from models.data.parts import Gallery, Part
from models.detectors.base import Detector, Floats, TrainingSet
from models.graphs.export import signature_of
from models.graphs.trunks import Trunk
from models.limits.promises import at_most
from models.measuring.figures import (
    average_precision,
    exact_interval,
    image_auroc,
    is_auroc_lost,
    recall_at_overkill,
)
from models.packages.reading import (
    OpenPackage,
    Scored,
    open_package,
    score_pictures,
    verdict_of,
)
from models.packages.writing import GOLDEN_FILE, REPORT_FILE, described, golden_bytes, write_package
from models.training.progress import Progress

_log = logging.getLogger(__name__)
MOST_AUROC_LOST: Final = 0.005
# Share of the distance from a typical sound score to ng_limit, on sound golden images.
MOST_PARITY_ERROR: Final = 1.0
GOLDEN_TOLERANCE: Final = 0.05
_GOLDEN_IMAGES: Final = 8
_UNCHECKED: Final = (
    "{} held out, so no AUROC is known, and int8 was taken for agreeing with fp32 on a few pictures alone"
)


@dataclass(frozen=True)
class Learned:
    """A fitted detector, what it was fitted on, and its limits."""

    training: TrainingSet
    detector: Detector
    limits: Limits
    typical_sound: float
    notes: list[str]
    # Of each training row by a detector that had not seen its group.
    cross_fitted_scores: Floats

    @property
    def scale(self) -> float:
        """From a typical sound score to ng_limit: what scores are measured against."""
        return max(self.limits.ng_limit - self.typical_sound, 1e-6)


@dataclass(frozen=True)
class Finish:
    """What a training hands over; the preferred variant first."""

    job: TrainingJob
    gallery: Gallery
    trunk: Trunk
    variants: list[tuple[Variant, bytes]]
    learned: Learned
    dataset_sha256: str
    started_s: float
    notes: list[str]


@dataclass
class _Candidate:
    """One variant on its way into the package."""

    variant: Variant
    model: bytes
    golden: NDArray[np.float32]
    held_out: Scored
    # None: a golden image got no number.
    parity_error: float | None = 0.0
    is_included: bool = True
    note: str = ""
    # Refused for its AUROC, not for what makes it unusable.
    is_outdone: bool = False

    def auroc(self, is_defective: NDArray[np.bool_]) -> float | None:
        """Image AUROC on the held-out pictures that got a number."""
        return image_auroc(*_scored(self.held_out.scores, is_defective))


@dataclass
class Measured:
    """All variants as measured on the held-out pictures, and what a reader should know of that."""

    held_out: list[Part]
    is_defective: NDArray[np.bool_]
    golden: NDArray[np.uint8]
    candidates: list[_Candidate] = field(default_factory=list)
    refused: list[_Candidate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def chosen(self) -> _Candidate:
        """The first one, in order of preference."""
        return self.candidates[0]

    def takes_back(self, anew: "Measured") -> bool:
        """Take back what was refused for its AUROC when learning anew without it came out no better, and say so.

        A refusal compares two variants of one fit; what it leads to is another fit, which may be the worse one.
        """
        (lost,) = self.refused
        here, there = lost.auroc(self.is_defective), anew.chosen.auroc(anew.is_defective)
        if not lost.is_outdone or here is None or (there is not None and there > here + MOST_AUROC_LOST):
            return False
        told = "unknown" if there is None else f"{there:.4f}"
        why = f"learnt anew without it, {anew.chosen.variant} reaches {told}"
        self.notes = [f"{lost.variant}: kept, although its {lost.note}: {why}"]
        lost.is_included, lost.note = True, ""
        self.candidates, self.refused = [lost, *self.candidates], []
        return True


def measure(done: Finish, progress: Progress) -> Measured:
    """Score golden and held-out pictures with every variant; a bad quantized one moves to `refused`."""
    held_out = done.gallery.select(PartUse.HOLDOUT)
    is_defective = np.array([part.is_defective for part in held_out], np.bool_)
    groups = [part.image.group for part in held_out]
    golden, golden_sound = _golden_images(done)
    measured = Measured(held_out, is_defective, golden)
    if len(done.variants) > 1 and (is_defective.all() or not is_defective.any()):
        lacking = "sound " if is_defective.any() else "defective " if held_out else ""
        measured.notes.append(_UNCHECKED.format(f"no {lacking}pictures are"))
    progress.enter("measuring", 0.9)
    seen = 0

    def count_one(_count: int) -> None:
        nonlocal seen
        seen += 1
        progress.within(seen / (len(held_out) * len(done.variants)))

    for variant, model in done.variants:
        pixels = (done.gallery.pixels(part) for part in held_out)
        scored = score_pictures(model, pixels, done.job.threads, count_one)
        told = score_pictures(model, golden, done.job.threads).scores
        measured.candidates.append(_Candidate(variant, model, told, scored))
    exact = measured.candidates[-1]
    for candidate in measured.candidates[:-1]:
        apart = np.abs(candidate.golden - exact.golden)
        candidate.parity_error = _or_none(float(apart.max()) / done.learned.scale)
        sound_error = float(apart[:golden_sound].max()) / done.learned.scale
        before, after = exact.held_out.scores, candidate.held_out.scores
        if unscored := int((~np.isfinite(np.r_[candidate.golden, after])).sum()):
            candidate.note = f"{unscored} golden or held-out pictures got no number as a score"
        elif sound_error > MOST_PARITY_ERROR:
            candidate.note = (
                f"parity error {sound_error:.2f} on sound golden images, at most {MOST_PARITY_ERROR} allowed"
            )
        elif is_auroc_lost(before, after, is_defective, groups, allowed=MOST_AUROC_LOST):
            told_before, told_after = (image_auroc(each, is_defective) or 0.0 for each in (before, after))
            candidate.is_outdone = True
            candidate.note = (
                f"image AUROC fell from {told_before:.4f} to {told_after:.4f}, at most {MOST_AUROC_LOST} may be lost"
            )
        if candidate.note:
            candidate.is_included = False
            measured.notes.append(f"{candidate.variant}: left out, {candidate.note}")
            _log.warning(
                "training_id=%s variant=%s left_out=%s", done.job.training_id, candidate.variant, candidate.note
            )
    measured.refused = [candidate for candidate in measured.candidates if not candidate.is_included]
    measured.candidates = [candidate for candidate in measured.candidates if candidate.is_included]
    return measured


def _golden_images(done: Finish) -> tuple[NDArray[np.uint8], int]:
    """A few training pictures at the model's size, sound ones first, half defective where there are any."""
    sound = done.gallery.select(PartUse.TRAIN, is_defective=False)
    defective = done.gallery.select(PartUse.TRAIN, is_defective=True)[: _GOLDEN_IMAGES // 2]
    sound = sound[: _GOLDEN_IMAGES - len(defective)]
    side = done.job.size_px
    sized = [
        cv2.resize(done.gallery.pixels(part), (side, side), interpolation=cv2.INTER_AREA) for part in sound + defective
    ]
    return np.stack(sized).astype(np.uint8), len(sound)


def package_and_report(
    done: Finish, measured: Measured, clock: Clock, progress: Progress, make_room: Callable[[], None] | None = None
) -> EvaluationReport:
    """Score the champion, write the package; returns the evaluation, which the caller writes last.

    `make_room`: see `write_package`.
    """
    progress.enter("comparing with the champion", 0.95)
    champion, champion_scores = _champion(done, measured.held_out, progress)
    progress.enter("packaging", 0.99)
    seconds = clock.monotonic_s() - done.started_s
    chosen, limits = measured.chosen, done.learned.limits
    done.notes.extend(broken_promises(measured.held_out, chosen.held_out.scores, limits))
    package_id = _package(done, measured, clock, seconds, make_room)
    verdicts = []
    for row, part in enumerate(measured.held_out):
        score = float(chosen.held_out.scores[row])
        rival = None if champion_scores is None else float(champion_scores[row])
        rival_verdict = None if rival is None or champion is None else verdict_of(rival, champion.manifest.limits)
        verdicts.append(
            HoldoutVerdict(
                sha256=part.image.sha256, group=part.image.group, judgement=part.image.judgement,
                defect_class=part.image.defect_class, candidate_score=score,
                candidate_verdict=verdict_of(score, limits),
                champion_score=None if rival is None else _or_none(rival), champion_verdict=rival_verdict,
            )
        )  # fmt: skip
    is_defective = measured.is_defective
    sound, defective = _counts(done)
    return EvaluationReport(
        training_id=done.job.training_id, product=done.job.product, detector=done.learned.detector.kind,
        package_id=package_id, candidate_variant=chosen.variant,
        champion_package_id=None if champion is None else champion.package_id, is_simulated=done.job.is_simulated,
        train_good=sound, train_defective=defective, holdout=verdicts,
        variants=[_variant_measured(each, is_defective) for each in measured.candidates + measured.refused],
        champion_image_auroc=None if champion_scores is None else image_auroc(*_scored(champion_scores, is_defective)),
        backbone=done.trunk.name, backbone_weights_source=done.trunk.weights_source, training_seconds=seconds,
        left_out=done.gallery.left_out, notes=done.notes,
    )  # fmt: skip


def broken_promises(held_out: Sequence[Part], scores: Floats, limits: Limits) -> list[str]:
    """Says where held-out parts contradict a promise of the limits: beyond chance, counted by part as it was."""
    found = []
    for promise, is_defective, broken, name in (
        (limits.overkill, False, Verdict.NG, "overkill"),
        (limits.escapes, True, Verdict.OK, "escapes"),
    ):
        rows = [row for row, part in enumerate(held_out) if part.is_defective is is_defective]
        every = {held_out[row].image.group for row in rows}
        beyond = {held_out[row].image.group for row in rows if verdict_of(float(scores[row]), limits) is broken}
        low, high = exact_interval(len(beyond), len(every))
        if promise is not None and low > promise.kept_rate:
            found.append(
                f"{name}: {len(beyond)} of {len(every)} held-out parts ({low:.1%}–{high:.1%} with 95 % confidence), "
                f"more than the {at_most(promise.kept_rate)} promised: the held-out parts are not like those the "
                "limits were placed on (later, another lot, another light?), so do not rely on the promise"
            )
    return found


def _or_none(value: float) -> float | None:
    """A number that can be written; None for one that is none."""
    return value if np.isfinite(value) else None


def _scored(scores: Floats, is_defective: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """The pictures that got a number: a rank needs one."""
    rows = np.isfinite(scores)
    return scores[rows], is_defective[rows]


def _counts(done: Finish) -> tuple[int, int]:
    is_defective = done.learned.training.is_defective
    return int((~is_defective).sum()), int(is_defective.sum())


def _champion(
    done: Finish, held_out: list[Part], progress: Progress
) -> tuple[OpenPackage | None, NDArray[np.float32] | None]:
    """The champion's scores on the same pictures, by the variant a CPU station runs."""
    if done.job.champion_dir is None:
        return None, None
    champion = open_package(Path(done.job.champion_dir))
    if done.job.champion_package_id not in (None, champion.package_id):
        done.notes.append(f"champion: the folder holds {champion.package_id[:12]}, another package than the job names")
    pixels = (done.gallery.pixels(part) for part in held_out)
    model = champion.model(champion.preferred())
    told = score_pictures(model, pixels, done.job.threads, lambda count: progress.within(count / len(held_out)))
    return champion, told.scores


def _package(
    done: Finish, measured: Measured, clock: Clock, seconds: float, make_room: Callable[[], None] | None
) -> str:
    learned, job = done.learned, done.job
    files = {f"{each.variant}.onnx": (FileRole.MODEL, each.model) for each in measured.candidates}
    golden = golden_bytes(measured.golden, {each.variant: each.golden for each in measured.candidates})
    files[GOLDEN_FILE] = (FileRole.GOLDEN, golden)
    told = {"notes": done.notes, "left_out": done.gallery.left_out, "limits": learned.limits.model_dump()}
    files[REPORT_FILE] = (FileRole.REPORT, json.dumps(told, indent=1).encode())
    sound, defective = _counts(done)
    manifest = PackageManifest(
        product=job.product,
        detector=learned.detector.kind,
        created_at=clock.now(),
        is_simulated=job.is_simulated,
        graph=signature_of(learned.detector, size_px=job.size_px, channels=learned.training.features.shape[1]),
        variants=[
            PackageVariant(
                variant=each.variant, file=f"{each.variant}.onnx", parity_error=each.parity_error,
                image_auroc=image_auroc(each.held_out.scores, measured.is_defective),
            )
            for each in measured.candidates
        ],
        files=described(files),
        limits=learned.limits,
        golden=GoldenSet(file=GOLDEN_FILE, images=len(measured.golden), tolerance=GOLDEN_TOLERANCE * learned.scale),
        lineage=Lineage(
            training_id=job.training_id, parent_package_id=job.champion_package_id,
            dataset_sha256=done.dataset_sha256, sound_parts=sound, defective_parts=defective, seed=job.seed,
            backbone=done.trunk.name, backbone_weights_sha256=done.trunk.weights_sha256,
            backbone_weights_source=done.trunk.weights_source, trainer_version=__version__, training_seconds=seconds,
        ),
    )  # fmt: skip
    return write_package(Path(job.output_dir) / PACKAGE_FOLDER, manifest, files, make_room=make_room)


def _variant_measured(candidate: _Candidate, is_defective: NDArray[np.bool_]) -> VariantMeasured:
    scores, is_defective = _scored(candidate.held_out.scores, is_defective)
    return VariantMeasured(
        variant=candidate.variant, image_auroc=image_auroc(scores, is_defective),
        average_precision=average_precision(scores, is_defective),
        recall_at_1pct_overkill=recall_at_overkill(scores, is_defective, 0.01),
        infer_p50_ms=candidate.held_out.infer_p50_ms or None, parity_error=candidate.parity_error,
        is_included=candidate.is_included, note=candidate.note,
    )  # fmt: skip
