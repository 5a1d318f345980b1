# SPDX-License-Identifier: Apache-2.0
"""`sightline-models quantize`: further variants of a package, by the rules of a training.

Thin: checks the options, opens what they name, prints what came of it. Called by `__main__` only.
"""

import argparse
from pathlib import Path

from contracts.codec import encode
from contracts.jobs import PACKAGE_FOLDER
from contracts.vocabulary import Variant
from models.clock import SystemClock
from models.errors import InputError
from models.files import write_whole
from models.packages.reading import OpenPackage, open_package
from models.settings import read_settings
from models.training.asking import bar_shown, pictures_asked
from models.training.commands import print_report, wanted_variants
from models.training.quantizing import Quantization, run_quantization
from models.training.results import REPORT_NAME, check_out


def quantize(arguments: argparse.Namespace) -> None:
    """Make the new package and print what came of it."""
    settings, clock, out = read_settings(), SystemClock(), arguments.out
    variants = wanted_variants(arguments.variants)
    if set(variants) == {Variant.FP32}:
        raise InputError("--variants: expected int8-u8s8, int8-s8s8, fp16 or all; fp32 is what they are made of")
    package = open_package(arguments.package)
    # Said before the pictures are read.
    package.model(Variant.FP32)
    _check_apart(package, out)
    check_out(out)
    seed = package.manifest.lineage.seed if arguments.seed is None else arguments.seed
    found = pictures_asked(arguments, settings, seed)
    asked = Quantization(package, variants, found.images, out, arguments.threads)
    with bar_shown(clock, is_silent=arguments.quiet) as bar:
        report = run_quantization(
            asked, settings, clock, left_out=found.left_out, watch=bar,
            before_last=lambda told: write_whole(out / REPORT_NAME, encode(told)),
        )  # fmt: skip
    print_report(report, out)


def _check_apart(package: OpenPackage, out: Path) -> None:
    """The old package stays: it may be the one that runs."""
    old, new = package.folder.resolve(), out.resolve()
    if old == new / PACKAGE_FOLDER or old == new or old in new.parents:
        raise InputError(f"--out: {out} holds the package itself, which stays as it is; give another folder")
