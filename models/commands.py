# SPDX-License-Identifier: Apache-2.0
"""`sightline-models train`: a job from a folder of pictures, as central would make it from audits.

Called by `__main__` only.
"""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from contracts.codec import encode
from contracts.jobs import EvaluationReport, TrainingImage, TrainingJob
from contracts.vocabulary import DetectorKind
from models.clock import SystemClock
from models.data.layouts import read_layout
from models.errors import InputError
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
