# SPDX-License-Identifier: Apache-2.0
"""The longer commands of `sightline-models`: train on a folder, evaluate a package on one.

Builds a job as central would, or runs a package's variants over pictures. Called by `__main__` only.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from contracts.codec import encode
from contracts.jobs import EvaluationReport, TrainingImage, TrainingJob
from contracts.vocabulary import DetectorKind, PartUse, Variant, Verdict
from models.clock import SystemClock
from models.data.layouts import read_layout
from models.data.parts import read_gallery
from models.errors import InputError
from models.evaluation import (
    average_precision,
    image_auroc,
    open_package,
    recall_at_overkill,
    score_pictures,
    verdict_of,
)
from models.progress import write_whole
from models.settings import read_settings
from models.training import run_job


def train(arguments: argparse.Namespace) -> None:
    """Train on a folder and print what came of it."""
    images = read_layout(arguments.images, arguments.layout, half=arguments.half, seed=arguments.seed)
    out: Path = arguments.out
    job = _job(arguments, images, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: {out} cannot be made a folder ({error.strerror}); give another one") from error
    report = run_job(job, read_settings(), SystemClock())
    write_whole(out / "report.json", encode(report))
    _print_report(report, out)


def _job(arguments: argparse.Namespace, images: list[TrainingImage], out: Path) -> TrainingJob:
    try:
        return TrainingJob(
            training_id=f"train-{arguments.product}"[:63], product=arguments.product,
            detector=DetectorKind(arguments.detector), reason="sightline-models train", is_simulated=False,
            images=images, size_px=arguments.size, backbone=arguments.backbone, weights_path=arguments.weights,
            seed=arguments.seed, threads=arguments.threads, output_dir=str(out),
        )  # fmt: skip
    except (ValidationError, ValueError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        told = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}" if first else str(error)
        raise InputError(f"train: {told}") from error


def _print_report(report: EvaluationReport, out: Path) -> None:
    lines = [
        f"package {report.package_id}",
        f"detector {report.detector}, backbone {report.backbone} ({report.backbone_weights_source})",
    ]
    for measured in report.variants:
        figures = ", ".join(
            f"{name} {value:.4f}"
            for name, value in (
                ("AUROC", measured.image_auroc),
                ("AP", measured.average_precision),
                ("recall at 1 % overkill", measured.recall_at_1pct_overkill),
                ("p50 ms", measured.infer_p50_ms),
                ("parity error", measured.parity_error),
            )
            if value is not None
        )
        lines.append(f"{measured.variant}: {figures}{'' if measured.is_included else ' (left out)'}")
    lines += [f"note: {note}" for note in report.notes] + [f"left out: {line}" for line in report.left_out[:20]]
    lines.append(f"{report.training_seconds:.1f} s; written to {out}")
    sys.stdout.write("\n".join(lines) + "\n")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of each variant on the held-out side of a folder."""
    package = open_package(arguments.package)
    images = [
        image
        for image in read_layout(arguments.images, arguments.layout, half=arguments.half)
        if image.use is PartUse.HOLDOUT
    ]
    gallery = read_gallery(images, read_settings())
    if not gallery.parts:
        raise InputError(
            f"evaluate: no usable held-out pictures in {arguments.images}; {'; '.join(gallery.left_out[:3])}"
        )
    wanted = [entry.variant for entry in package.manifest.variants]
    if arguments.variant != "all":
        try:
            wanted = [Variant(arguments.variant)]
        except ValueError as error:
            raise InputError(
                f"variant: expected all or one of {', '.join(Variant)}, got {arguments.variant!r}"
            ) from error
    is_defective = np.array([part.is_defective for part in gallery.parts], np.bool_)
    classes = np.array([part.image.defect_class or "" for part in gallery.parts])
    figures: dict[str, Any] = {}
    for variant in wanted:
        told = score_pictures(
            package.model(variant), (gallery.pixels(part) for part in gallery.parts), arguments.threads
        )
        verdicts = [verdict_of(float(score), package.manifest.limits) for score in told.scores]
        passed = np.array([verdict is Verdict.OK for verdict in verdicts], np.bool_)
        rejected = np.array([verdict is Verdict.NG for verdict in verdicts], np.bool_)
        figures[variant.value] = {
            "image_auroc": image_auroc(told.scores, is_defective),
            "average_precision": average_precision(told.scores, is_defective),
            "recall_at_1pct_overkill": recall_at_overkill(told.scores, is_defective, 0.01),
            "recall_at_5pct_overkill": recall_at_overkill(told.scores, is_defective, 0.05),
            "escapes": {"count": int((passed & is_defective).sum()), "of": int(is_defective.sum())},
            "overkills": {"count": int((rejected & ~is_defective).sum()), "of": int((~is_defective).sum())},
            "held_for_review": int((~passed & ~rejected).sum()),
            "infer_p50_ms": told.infer_p50_ms,
            "per_class": {
                name: image_auroc(
                    np.concatenate([told.scores[~is_defective], told.scores[classes == name]]),
                    np.concatenate(
                        [np.zeros((~is_defective).sum(), np.bool_), np.ones((classes == name).sum(), np.bool_)]
                    ),
                )
                for name in sorted(set(classes[is_defective]))
            },
        }
    return {"package": package.package_id, "variants": figures, "left_out": gallery.left_out}
