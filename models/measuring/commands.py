# SPDX-License-Identifier: Apache-2.0
"""The commands that measure and change nothing: `sightline-models evaluate`, `compare`, `inspect` and `run-gate`.

Thin: opens what the arguments name, hands it to the room that measures, writes what comes back. Called by `__main__`
only.
"""

import argparse
from typing import Final

from models.clock import SystemClock
from models.data.labels import read_labels
from models.errors import InputError
from models.measuring import comparing, evaluating, inspecting
from models.measuring.gating import run_gate_file
from models.measuring.holdout import Folder, HeldOut, read_held_out
from models.packages.reading import OpenPackage, open_package
from models.reporting.console import Ticker, check_target, write_figures
from models.settings import read_settings

# Of the resampling behind intervals: the same pictures and packages give the same figures.
_SEED: Final = 0


def evaluate(arguments: argparse.Namespace) -> None:
    """Figures of each variant on the held-out side of a folder."""
    check_target(arguments.json, arguments.package)
    package = open_package(arguments.package)
    asked = evaluating.Asked(evaluating.wanted_variants(package, arguments.variant), arguments.threads, _SEED)
    with Ticker(SystemClock()) as ticker:
        held_out = _held_out(arguments, [package], ticker, has_masks=True)
        told = evaluating.evaluate_package(package, held_out, asked, ticker.tell)
    write_figures(told, evaluating.render(told), arguments.json)


def compare(arguments: argparse.Namespace) -> None:
    """Two packages on the same held-out pictures."""
    check_target(arguments.json, arguments.a, arguments.b)
    rivals = comparing.Rivals.named(open_package(arguments.a), open_package(arguments.b), arguments.variant)
    with Ticker(SystemClock()) as ticker:
        held_out = _held_out(arguments, [rivals.a, rivals.b], ticker, has_masks=False)
        told = comparing.compare_packages(rivals, held_out, threads=arguments.threads, seed=_SEED, check=ticker.tell)
    write_figures(told, comparing.render(told), arguments.json)


def inspect(arguments: argparse.Namespace) -> None:
    """What a package is, and whether its files are those that its manifest names."""
    check_target(arguments.json, arguments.package)
    told = inspecting.inspect_package(arguments.package)
    write_figures(told, inspecting.render(told), arguments.json)
    if faults := inspecting.faults_of(told):
        raise InputError(f"package {arguments.package}: {'; '.join(faults)}; fetch it again")


def run_gate(arguments: argparse.Namespace) -> None:
    """A challenger beside its champion, by a job file of central."""
    run_gate_file(arguments.job, read_settings(), SystemClock())


def _held_out(
    arguments: argparse.Namespace, packages: list[OpenPackage], ticker: Ticker, *, has_masks: bool
) -> HeldOut:
    settings = read_settings()
    labels = [] if arguments.labels is None else read_labels(arguments.labels, arguments.images, settings)
    # The split by name depends on the seed: with another one, pictures that were learnt would be held out here.
    seeds = [package.manifest.lineage.seed for package in packages] if arguments.seed is None else [arguments.seed]
    folder = Folder(arguments.images, arguments.layout, seeds, arguments.half, labels)
    return read_held_out(
        folder, settings, has_masks=has_masks, check=lambda count, of: ticker.tell("reading pictures", count, of)
    )
