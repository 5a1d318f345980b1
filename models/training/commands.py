# SPDX-License-Identifier: Apache-2.0
"""`sightline-models train`: a job from a folder of pictures, as central would make it from audits.

Called by `__main__`; `quantize_command` prints by it.
"""

import argparse
import logging
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from contracts.codec import encode
from contracts.ids import Name
from contracts.jobs import (
    LEAST_SIZE_PX,
    MOST_SIZE_PX,
    EvaluationReport,
    TrainingImage,
    TrainingJob,
)
from contracts.vocabulary import DetectorKind, Variant
from models.clock import SystemClock
from models.errors import CancelledError, InputError, was_asked_to_stop
from models.files import as_unwritable, write_whole
from models.packages.reading import open_package
from models.reporting.console import told_left_out
from models.reporting.page import REPORT_PAGE, render_page
from models.settings import Settings, read_settings
from models.stdout import say
from models.training.asking import bar_shown, pictures_asked
from models.training.checkpoints import sweep_kept
from models.training.enough import check_enough
from models.training.fit_budget import run_within
from models.training.job import run_job
from models.training.results import REPORT_NAME, check_out
from models.training.tiling import read_tiles

_log = logging.getLogger(__name__)
# Names of the job that people know by another one.
_OPTIONS: Final = {"output_dir": "--out", "weights_path": "--weights", "backbone": "--backbone"}


def train(arguments: argparse.Namespace) -> None:
    """Train on a folder, leave the reports beside the package and print what came of it."""
    settings, clock, out = read_settings(), SystemClock(), arguments.out
    if arguments.budget_minutes is not None and not 0 < arguments.budget_minutes < float("inf"):
        raise InputError(f"--budget-minutes: expected more than 0, got {arguments.budget_minutes}")
    if not LEAST_SIZE_PX <= arguments.size <= MOST_SIZE_PX:
        raise InputError(f"--size: expected {LEAST_SIZE_PX} … {MOST_SIZE_PX} px a side, got {arguments.size}")
    within_ms = arguments.fit_budget_ms
    if within_ms is not None and not 0 < within_ms < float("inf"):
        raise InputError(f"--fit-budget-ms: expected more than 0, got {within_ms}")
    if within_ms is not None and arguments.resume:
        raise InputError("--resume: expected one training, and --fit-budget-ms makes several; leave one of them out")
    if arguments.threads is None:
        # A deadline is held on what a station surely has for a camera: one core.
        arguments.threads = 2 if within_ms is None else 1
    found = pictures_asked(arguments, settings, arguments.seed)
    job = _job(arguments, found.images, out)
    check_out(out)
    check_enough(job.detector, found.images, found.left_out)
    try:
        with bar_shown(clock, is_silent=arguments.quiet) as bar:
            budget_s = None if arguments.budget_minutes is None else 60 * arguments.budget_minutes
            if within_ms is None:
                report = run_job(
                    job, settings, clock, left_out=found.left_out, watch=bar, budget_s=budget_s,
                    before_last=lambda told: _write_reports(job, told, out, settings), is_resumable=arguments.resume,
                )  # fmt: skip
            else:
                report = run_within(
                    job, settings, clock, within_ms=within_ms, left_out=found.left_out, watch=bar,
                    budget_s=budget_s, before_last=lambda taken, told: _write_reports(taken, told, out, settings),
                )  # fmt: skip
    except CancelledError:
        if arguments.resume:
            _log.warning("the steps that were done are kept in %s; the same command goes on from there", out)
        raise
    # Those of an earlier, stopped training: the results that they were kept for are there now.
    sweep_kept(out)
    print_report(report, out)


def _write_reports(job: TrainingJob, report: EvaluationReport, out: Path, settings: Settings) -> None:
    write_whole(out / REPORT_NAME, encode(report))
    try:
        page = render_page(job, report, open_package(out / "package"), settings)
        write_whole(out / REPORT_PAGE, page.encode())
    except Exception as error:
        if was_asked_to_stop(error) or as_unwritable(error, out) is not None:
            raise
        # A page that cannot be drawn must not cost the package that was learnt.
        _log.exception("training_id=%s page_lost=%s", job.training_id, REPORT_PAGE)


def _job(arguments: argparse.Namespace, images: list[TrainingImage], out: Path) -> TrainingJob:
    try:
        TypeAdapter(Name).validate_python(arguments.product)
    except ValidationError as error:
        raise InputError(
            f"--product: expected small letters, digits, - and _, at most 63, got {arguments.product!r}"
        ) from error
    if arguments.detector not in set(DetectorKind) - {DetectorKind.FOREIGN}:
        raise InputError(f"--detector: expected auto, memory-bank, mixed or classifier, got {arguments.detector!r}")
    weights = None if arguments.weights is None else str(arguments.weights)
    tiles = read_tiles(arguments.tiles, arguments.size)
    try:
        return TrainingJob(
            training_id=f"train-{arguments.product}"[:63], product=arguments.product,
            detector=DetectorKind(arguments.detector), reason="sightline-models train", is_simulated=False,
            images=images, size_px=arguments.size, tiles=tiles, backbone=arguments.backbone, weights_path=weights,
            seed=arguments.seed, threads=arguments.threads, workers=arguments.workers,
            variants=wanted_variants(arguments.variants), output_dir=str(out),
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{_OPTIONS.get(name, name)}: {first['msg']}, got {first['input']!r:.80}") from error


def wanted_variants(text: str) -> list[Variant]:
    """`all`, or names with commas between.

    Raises:
        InputError: a name that is none.
    """
    names = [each.strip() for each in text.split(",")]
    if names == ["all"]:
        return list(Variant)
    if not all(name in list(Variant) for name in names):
        raise InputError(f"--variants: expected all, or some of {', '.join(Variant)} with commas between, got {text!r}")
    return [Variant(name) for name in names]


def print_report(report: EvaluationReport, out: Path) -> None:
    """What came of a training or of `quantize`, for a person."""
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
                ("AU-PRO", measured.au_pro),
                ("p50 ms", measured.infer_p50_ms),
                ("p50 ms a tile", measured.tile_p50_ms if report.tiles.count > 1 else None),
                ("parity error", measured.parity_error),
            )
            if value is not None
        )
        in_float = f", {measured.float_nodes} of {measured.of_nodes} nodes in float" if measured.float_nodes else ""
        lines.append(f"{measured.variant}: {figures}{in_float}{'' if measured.is_included else ' (left out)'}")
    lines += [f"note: {note}" for note in report.notes]
    lines += told_left_out(report.left_out, f"all of them in {out / REPORT_NAME}")
    lines.append(f"{report.training_seconds:.1f} s; written to {out}")
    if (out / REPORT_PAGE).is_file():
        lines.append(f"report: {out / REPORT_PAGE}")
    say("\n".join(lines) + "\n")
