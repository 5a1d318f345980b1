# SPDX-License-Identifier: Apache-2.0
"""Package and evaluation of a foreign graph: golden pictures, manifest, lineage, figures of the held-out side.

Places no limits and joins no nodes. Called by `importing` and `quantizing`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.jobs import PACKAGE_FOLDER, EvaluationReport, VariantMeasured
from contracts.manifest import FileRole, GoldenSet, GraphSignature, Limits, Lineage, PackageManifest, PackageVariant
from contracts.vocabulary import DetectorKind, Variant
from models import __version__
from models.data.parts import Part, dataset_digest
from models.measuring.figures import average_precision, image_auroc, recall_at_overkill
from models.packages.writing import GOLDEN_FILE, REPORT_FILE, described, golden_bytes, write_package
from models.training.finishing import GOLDEN_TOLERANCE
from models.training.import_scores import Runner, Scored
from models.training.pictures import verdicts_on

_GOLDEN_IMAGES: Final = 8
# Golden pictures need not be larger than this for a graph that resizes: the package travels to every station.
_MOST_GOLDEN_SIDE_PX: Final = 1024
# Another machine's arithmetic differs by this share of a score at most, however narrow the limits lie.
_ARITHMETIC: Final = 1e-4


@dataclass(frozen=True)
class Told:
    """What stands in package and evaluation alike."""

    limits: Limits
    notes: list[str]
    seconds: float


def _golden(done: Scored) -> tuple[NDArray[np.uint8], list[Part]]:
    """A few placed pictures at the graph's size, sound ones first, half defective where there are any."""
    defective = [part for part in done.placed if part.is_defective][: _GOLDEN_IMAGES // 2]
    sound = [part for part in done.placed if not part.is_defective][: _GOLDEN_IMAGES - len(defective)]
    height, width = (min(side, _MOST_GOLDEN_SIDE_PX) for side in done.wrapped.size_hw)
    chosen = sound + defective
    sized = [cv2.resize(done.gallery.pixels(part), (width, height), interpolation=cv2.INTER_AREA) for part in chosen]
    return np.stack(sized).astype(np.uint8), chosen


def write_import(done: Scored, runner: Runner, told: Told, now: datetime, make_room: Callable[[], None]) -> str:
    """Write the package; returns its id. `make_room`: see `write_package`."""
    asked, wrapped, foreign, limits = done.asked, done.wrapped, done.asked.foreign, told.limits
    golden, shown = _golden(done)
    golden_scores = np.array(
        [runner.score(picture, part)[0] for picture, part in zip(golden, shown, strict=True)], np.float32
    )
    scale = limits.ng_limit - float(np.median(done.placed_scores[~done.is_defective]))
    tolerance = max(GOLDEN_TOLERANCE * scale, _ARITHMETIC * float(np.abs(golden_scores).max()), 1e-6)
    variant, model_file = Variant.FP32, f"{Variant.FP32}.onnx"
    told_of_import = {
        "notes": told.notes, "left_out": done.gallery.left_out, "limits": limits.model_dump(),
        "import": _described(done),
    }  # fmt: skip
    files = {
        model_file: (FileRole.MODEL, wrapped.model),
        GOLDEN_FILE: (FileRole.GOLDEN, golden_bytes(golden, {variant: golden_scores})),
        REPORT_FILE: (FileRole.REPORT, json.dumps(told_of_import, indent=1).encode()),
    }
    height, width = wrapped.size_hw
    manifest = PackageManifest(
        product=asked.product,
        detector=DetectorKind.FOREIGN,
        created_at=now,
        is_simulated=False,
        graph=GraphSignature(
            model_height_px=height, model_width_px=width, heatmap_height_px=wrapped.map_shape[0],
            heatmap_width_px=wrapped.map_shape[1], embedding_length=wrapped.embedding_length,
        ),
        variants=[
            PackageVariant(
                variant=variant, file=model_file, parity_error=0.0,
                image_auroc=image_auroc(done.held_out_scores, done.is_held_out_defective),
            )
        ],
        files=described(files),
        limits=limits,
        golden=GoldenSet(file=GOLDEN_FILE, images=len(golden), tolerance=tolerance),
        lineage=Lineage(
            training_id=asked.training_id, dataset_sha256=made_of(asked.foreign.sha256, dataset_digest(done.placed)),
            sound_parts=int((~done.is_defective).sum()), defective_parts=int(done.is_defective.sum()), seed=asked.seed,
            backbone=foreign.file_name, backbone_weights_sha256=foreign.sha256, backbone_weights_source=_source(done),
            trainer_version=__version__, training_seconds=told.seconds,
        ),
    )  # fmt: skip
    return write_package(asked.out / PACKAGE_FOLDER, manifest, files, make_room=make_room)


def made_of(file_sha256: str, dataset_sha256: str) -> str:
    """SHA-256 of the file and the pictures: never that of a training, which could be taken for what it learnt from."""
    return hashlib.sha256(f"{file_sha256} {dataset_sha256}".encode()).hexdigest()


def _source(done: Scored) -> str:
    choice = done.wrapped.choice
    taken = choice.score if choice.boxes is not None else f"{choice.score or 'no score'}, {choice.heatmap or 'no map'}"
    return f"imported ONNX, outputs {taken}"


def _described(done: Scored) -> dict[str, Any]:
    """What was asked and what was chosen, for the package's report."""
    asked, choice = done.asked, done.wrapped.choice
    return {
        "file": asked.foreign.file_name, "sha256": asked.foreign.sha256, "prepared": asdict(asked.prepared),
        "size_hw": done.wrapped.size_hw, "is_falling": asked.is_falling, "asked": asdict(asked.asked),
        "score": choice.score, "column": choice.column, "heatmap": choice.heatmap, "embedding": choice.embedding,
        "boxes": None if choice.boxes is None else asdict(choice.boxes),
    }  # fmt: skip


def report_of(done: Scored, told: Told, package_id: str, infer_p50_ms: float) -> EvaluationReport:
    """What came of it, as a training says it."""
    asked, scores, is_defective = done.asked, done.held_out_scores, done.is_held_out_defective
    return EvaluationReport(
        training_id=asked.training_id, product=asked.product, detector=DetectorKind.FOREIGN, package_id=package_id,
        candidate_variant=Variant.FP32, is_simulated=False, train_good=int((~done.is_defective).sum()),
        train_defective=int(done.is_defective.sum()),
        holdout=verdicts_on(zip(done.held_out, scores, strict=True), told.limits),
        variants=[
            VariantMeasured(
                variant=Variant.FP32, image_auroc=image_auroc(scores, is_defective),
                average_precision=average_precision(scores, is_defective),
                recall_at_1pct_overkill=recall_at_overkill(scores, is_defective, 0.01),
                infer_p50_ms=infer_p50_ms, parity_error=0.0, is_included=True,
            )
        ],
        backbone=asked.foreign.file_name, backbone_weights_source=_source(done), training_seconds=told.seconds,
        left_out=done.gallery.left_out, notes=told.notes,
    )  # fmt: skip
