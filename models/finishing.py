# SPDX-License-Identifier: Apache-2.0
"""From a learned detector to a package: quantize, measure on held-out pictures, choose variants, write.

A quantized variant that loses more than `MOST_AUROC_LOST`, or strays too far on golden images, is left out and the
report says so. Does not learn and does not place limits. Called by `training`.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from contracts.jobs import PACKAGE_FOLDER, EvaluationReport, HoldoutVerdict, TrainingJob, VariantMeasured
from contracts.manifest import FileRole, GoldenSet, GraphSignature, Limits, Lineage, PackageManifest, PackageVariant
from contracts.vocabulary import PartUse, Variant
from models import __version__
from models.clock import Clock
from models.data.parts import Gallery, Part
from models.detectors.base import Detector
from models.errors import QuantizationError
from models.evaluation import (
    OpenPackage, Scored, average_precision, image_auroc, open_package, recall_at_overkill, score_pictures, verdict_of,
)  # fmt: skip
from models.packaging import GOLDEN_FILE, REPORT_FILE, described, golden_bytes, write_package
from models.progress import Progress
from models.quantization import CALIBRATION_PICTURES, quantize
from models.settings import Settings
from models.trunks import Trunk

_log = logging.getLogger(__name__)
MOST_AUROC_LOST: Final = 0.005
# Share of the distance from a typical sound score to ng_limit.
MOST_PARITY_ERROR: Final = 0.5
GOLDEN_TOLERANCE: Final = 0.02
_GOLDEN_IMAGES: Final = 8


@dataclass(frozen=True)
class Finish:
    """What a training hands over."""

    job: TrainingJob
    settings: Settings
    gallery: Gallery
    trunk: Trunk
    detector: Detector
    graph: onnx.ModelProto
    signature: GraphSignature
    limits: Limits
    typical_sound: float
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
    parity_error: float = 0.0
    is_included: bool = True
    note: str = ""


@dataclass
class _Measured:
    candidates: list[_Candidate] = field(default_factory=list)

    @property
    def chosen(self) -> _Candidate:
        """INT8 where it is included, else fp32."""
        return next(candidate for candidate in self.candidates if candidate.is_included)


def finish(done: Finish, clock: Clock, progress: Progress) -> EvaluationReport:
    """Quantize, measure, package; returns the evaluation, which the caller writes last."""
    held_out = done.gallery.select(PartUse.HOLDOUT)
    is_defective = np.array([part.is_defective for part in held_out], np.bool_)
    golden_images = _golden_images(done)
    scale = max(done.limits.ng_limit - done.typical_sound, 1e-6)
    progress.enter("quantizing and measuring", 0.9)
    measured = _measure(done, held_out, is_defective, golden_images, scale, progress)
    progress.enter("comparing with the champion", 0.95)
    champion, champion_scores = _champion(done, held_out, progress)
    progress.enter("packaging", 0.99)
    seconds = clock.monotonic_s() - done.started_s
    package_id = _package(done, measured, is_defective, golden_images, scale, clock, seconds)
    return _report(done, measured, held_out, is_defective, champion, champion_scores, package_id, seconds)


def _measure(
    done: Finish, held_out: list[Part], is_defective: NDArray[np.bool_], golden: NDArray[np.uint8], scale: float,
    progress: Progress,
) -> _Measured:  # fmt: skip
    def scored(variant: Variant, model: bytes, start: float, until: float) -> _Candidate:
        pixels = (done.gallery.pixels(part) for part in held_out)
        threads = done.job.threads
        told = score_pictures(
            model, pixels, threads, lambda count: progress.within(start + (until - start) * count / len(held_out))
        )
        return _Candidate(variant, model, score_pictures(model, golden, threads).scores, told)

    exact = scored(Variant.FP32, done.graph.SerializeToString(), 0.0, 0.4)
    try:
        quantized = quantize(done.graph, _calibration_pictures(done)).SerializeToString()
        progress.within(0.6)
        small = scored(Variant.INT8_U8S8, quantized, 0.6, 1.0)
    except QuantizationError as error:
        done.notes.append(f"int8-u8s8: left out, {error}")
        _log.warning("training_id=%s variant=int8-u8s8 left_out=%s", done.job.training_id, error)
        return _Measured([exact])
    small.parity_error = float(np.abs(small.golden - exact.golden).max()) / scale
    before, after = (image_auroc(each.held_out.scores, is_defective) for each in (exact, small))
    if not np.isfinite(small.golden).all() or small.parity_error > MOST_PARITY_ERROR:
        small.is_included = False
        small.note = f"parity error {small.parity_error:.2f}, at most {MOST_PARITY_ERROR} allowed"
    elif before is not None and after is not None and before - after > MOST_AUROC_LOST:
        small.is_included = False
        small.note = f"image AUROC fell from {before:.4f} to {after:.4f}, at most {MOST_AUROC_LOST} may be lost"
    if not small.is_included:
        done.notes.append(f"int8-u8s8: left out, {small.note}")
        _log.warning("training_id=%s variant=int8-u8s8 left_out=%s", done.job.training_id, small.note)
    return _Measured([small, exact])


def _calibration_pictures(done: Finish) -> list[NDArray[np.uint8]]:
    """Training pictures only, sound and defective, evenly picked: the same every time."""
    parts = done.gallery.select(PartUse.TRAIN)
    step = max(1, len(parts) // CALIBRATION_PICTURES)
    return [done.gallery.pixels(part) for part in parts[::step][:CALIBRATION_PICTURES]]


def _golden_images(done: Finish) -> NDArray[np.uint8]:
    """A few training pictures at the model's size: half defective where there are any."""
    sound = done.gallery.select(PartUse.TRAIN, is_defective=False)
    defective = done.gallery.select(PartUse.TRAIN, is_defective=True)[: _GOLDEN_IMAGES // 2]
    parts = [*sound[: _GOLDEN_IMAGES - len(defective)], *defective]
    side = done.signature.model_width_px
    sized = [cv2.resize(done.gallery.pixels(part), (side, side), interpolation=cv2.INTER_AREA) for part in parts]
    return np.stack(sized).astype(np.uint8)


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
    done: Finish, measured: _Measured, is_defective: NDArray[np.bool_], golden: NDArray[np.uint8], scale: float,
    clock: Clock, seconds: float,
) -> str:  # fmt: skip
    included = [candidate for candidate in measured.candidates if candidate.is_included]
    training = done.gallery.select(PartUse.TRAIN)
    files = {f"{each.variant}.onnx": (FileRole.MODEL, each.model) for each in included}
    files[GOLDEN_FILE] = (FileRole.GOLDEN, golden_bytes(golden, {each.variant: each.golden for each in included}))
    told = {"notes": done.notes, "left_out": done.gallery.left_out, "limits": done.limits.model_dump()}
    files[REPORT_FILE] = (FileRole.REPORT, json.dumps(told, indent=1).encode())
    manifest = PackageManifest(
        product=done.job.product,
        detector=done.detector.kind,
        created_at=clock.now(),
        is_simulated=done.job.is_simulated,
        graph=done.signature,
        variants=[
            PackageVariant(
                variant=each.variant, file=f"{each.variant}.onnx", parity_error=each.parity_error,
                image_auroc=image_auroc(each.held_out.scores, is_defective),
            )
            for each in included
        ],
        files=described(files),
        limits=done.limits,
        golden=GoldenSet(file=GOLDEN_FILE, images=len(golden), tolerance=GOLDEN_TOLERANCE * scale),
        lineage=Lineage(
            training_id=done.job.training_id, parent_package_id=done.job.champion_package_id,
            dataset_sha256=done.dataset_sha256, sound_parts=sum(not part.is_defective for part in training),
            defective_parts=sum(part.is_defective for part in training), seed=done.job.seed,
            backbone=done.trunk.name, backbone_weights_sha256=done.trunk.weights_sha256,
            backbone_weights_source=done.trunk.weights_source, trainer_version=__version__, training_seconds=seconds,
        ),
    )  # fmt: skip
    return write_package(Path(done.job.output_dir) / PACKAGE_FOLDER, manifest, files)


def _report(
    done: Finish, measured: _Measured, held_out: list[Part], is_defective: NDArray[np.bool_],
    champion: OpenPackage | None, champion_scores: NDArray[np.float32] | None, package_id: str, seconds: float,
) -> EvaluationReport:  # fmt: skip
    chosen = measured.chosen
    verdicts = []
    for row, part in enumerate(held_out):
        score = float(chosen.held_out.scores[row])
        rival = None if champion_scores is None else float(champion_scores[row])
        verdicts.append(
            HoldoutVerdict(
                sha256=part.image.sha256, group=part.image.group, judgement=part.image.judgement,
                defect_class=part.image.defect_class, candidate_score=score,
                candidate_verdict=verdict_of(score, done.limits), champion_score=rival,
                champion_verdict=None if rival is None or champion is None
                else verdict_of(rival, champion.manifest.limits),
            )
        )  # fmt: skip
    training = done.gallery.select(PartUse.TRAIN)
    return EvaluationReport(
        training_id=done.job.training_id, product=done.job.product, detector=done.detector.kind,
        package_id=package_id, candidate_variant=chosen.variant,
        champion_package_id=None if champion is None else champion.package_id, is_simulated=done.job.is_simulated,
        train_good=sum(not part.is_defective for part in training),
        train_defective=sum(part.is_defective for part in training), holdout=verdicts,
        variants=[_variant_measured(each, is_defective) for each in measured.candidates],
        champion_image_auroc=None if champion_scores is None else image_auroc(champion_scores, is_defective),
        backbone=done.trunk.name, backbone_weights_source=done.trunk.weights_source, training_seconds=seconds,
        left_out=done.gallery.left_out, notes=done.notes,
    )  # fmt: skip


def _variant_measured(candidate: _Candidate, is_defective: NDArray[np.bool_]) -> VariantMeasured:
    scores = candidate.held_out.scores
    return VariantMeasured(
        variant=candidate.variant, image_auroc=image_auroc(scores, is_defective),
        average_precision=average_precision(scores, is_defective),
        recall_at_1pct_overkill=recall_at_overkill(scores, is_defective, 0.01),
        infer_p50_ms=candidate.held_out.infer_p50_ms or None, parity_error=candidate.parity_error,
        is_included=candidate.is_included, note=candidate.note,
    )  # fmt: skip
