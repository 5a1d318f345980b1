# SPDX-License-Identifier: Apache-2.0
"""`sightline-models import-onnx`: a package from an ONNX file that was made elsewhere.

Thin: checks the options, opens what they name, prints what came of it. Called by `__main__` only.
"""

import argparse
import math
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from contracts.codec import encode
from contracts.ids import Name
from contracts.jobs import EvaluationReport
from contracts.manifest import MAX_PACKAGE_BYTES
from models.clock import SystemClock
from models.errors import InputError
from models.files import write_whole
from models.graphs.foreign import MAX_SIDE_PX, MIN_SIDE_PX, Preparation
from models.graphs.foreign_outputs import Asked
from models.graphs.opening import open_foreign
from models.reporting.console import number, told_left_out
from models.settings import read_settings
from models.stdout import say
from models.training.asking import bar_shown, pictures_asked
from models.training.import_scores import Import
from models.training.importing import run_import
from models.training.results import REPORT_NAME, check_out
from models.wording import counted

# The rest of a package is for golden pictures and our own nodes.
_MOST_GRAPH_BYTES: Final = MAX_PACKAGE_BYTES // 4 * 3


def import_onnx(arguments: argparse.Namespace) -> None:
    """Make the package and print what came of it."""
    settings, clock, out = read_settings(), SystemClock(), arguments.out
    _check_product(arguments.product)
    size_hw, prepared = _size(arguments.size), _prepared(arguments)
    check_out(out)
    foreign = open_foreign(arguments.file, most_bytes=min(settings.max_weights_bytes, _MOST_GRAPH_BYTES))
    found = pictures_asked(arguments, settings, arguments.seed)
    asked = Import(
        foreign=foreign, product=arguments.product, images=found.images, out=out, size_hw=size_hw, prepared=prepared,
        asked=Asked(arguments.kind, arguments.score, arguments.heatmap), is_falling=arguments.sign == "-1",
        seed=arguments.seed, threads=arguments.threads,
    )  # fmt: skip
    with bar_shown(clock, is_silent=arguments.quiet) as bar:
        report = run_import(
            asked, settings, clock, left_out=found.left_out, watch=bar,
            before_last=lambda told: write_whole(out / REPORT_NAME, encode(told)),
        )  # fmt: skip
    _print_report(report, out)


def _check_product(product: str) -> None:
    try:
        TypeAdapter(Name).validate_python(product)
    except ValidationError as error:
        raise InputError(f"--product: expected small letters, digits, - and _, at most 63, got {product!r}") from error


def _size(text: str | None) -> tuple[int, int] | None:
    """`256`, or `640x480` as width × height."""
    if text is None:
        return None
    width, _, height = text.partition("x")
    sides = [int(side) for side in (width, height or width) if side.isdecimal()]
    if len(sides) != 2 or not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in sides):
        raise InputError(
            f"--size: expected {MIN_SIDE_PX} … {MAX_SIDE_PX} px a side, such as 256 or 640x480 (width x height), got "
            f"{text!r}"
        )
    return sides[1], sides[0]


def _prepared(arguments: argparse.Namespace) -> Preparation:
    mean, std = _colours("--mean", arguments.mean), _colours("--std", arguments.std)
    if min(std) <= 0:
        raise InputError(f"--std: expected more than 0, got {arguments.std!r}")
    if not 0 < arguments.scale < math.inf:
        raise InputError(f"--scale: expected more than 0, got {arguments.scale}")
    return Preparation(arguments.colour == "rgb", arguments.scale, mean, std, arguments.fit == "border")


def _colours(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(each) for each in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in {1, 3} or not all(math.isfinite(each) for each in values):
        raise InputError(f"{option}: expected one number, or three with commas between, got {text!r}")
    return values


def _print_report(report: EvaluationReport, out: Path) -> None:
    (measured,) = report.variants
    figures = (
        f"AUROC {number(measured.image_auroc)}, AP {number(measured.average_precision)}, recall at 1 % overkill "
        f"{number(measured.recall_at_1pct_overkill)}, p50 ms {number(measured.infer_p50_ms, 2)}"
    )
    lines = [
        f"package {report.package_id}",
        f"{report.backbone}, {report.backbone_weights_source}",
        f"{counted(len(report.holdout), 'held-out picture')}: {figures}",
        *(f"note: {note}" for note in report.notes),
        *told_left_out(report.left_out, f"all of them in {out / REPORT_NAME}"),
        f"{report.training_seconds:.1f} s; written to {out}",
    ]
    say("\n".join(lines) + "\n")
