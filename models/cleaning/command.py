# SPDX-License-Identifier: Apache-2.0
"""`sightline-models clean`: what of a folder of judged pictures should be looked at before it teaches.

Changes no picture and no label: a person decides. Called by `__main__` only.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement
from models.cleaning.faults import Finding, find_unfit
from models.cleaning.label_errors import DEFECTIVE, GOOD, Suspicion, suspect_labels
from models.cleaning.likeness import find_repeats
from models.cleaning.measures import Measures, measure_picture
from models.cleaning.registration import find_moved
from models.cleaning.seen import Eye
from models.clock import SystemClock
from models.data.pictures import read_picture
from models.errors import InputError
from models.graphs.trunks import resolve
from models.reporting.console import STDOUT, check_target, table, write_figures
from models.settings import Settings, read_settings
from models.stdout import say
from models.training.asking import bar_shown, pictures_asked
from models.wording import counted

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Looked:
    """The pictures that could be read, with what was measured and seen of each."""

    images: list[TrainingImage]
    measured: list[Measures]
    places: Floats
    summaries: Floats
    left_out: list[str]

    @property
    def labels(self) -> list[str]:
        """`GOOD`, or the class of the defect."""
        return [GOOD if image.judgement is Judgement.GOOD else image.defect_class or DEFECTIVE for image in self.images]


def clean(arguments: argparse.Namespace) -> None:
    """Find what should be looked at, and write it into `--out`.

    Raises:
        InputError: the folder, the labels, the weights or `--out` cannot be used.
    """
    if not 0 < arguments.suggest <= 1:
        raise InputError(f"--suggest: expected a share above 0 up to 1, got {arguments.suggest:g}")
    check_target(arguments.out, option="--out")
    settings = read_settings()
    notes: list[str] = []
    weights = None if arguments.weights is None else str(arguments.weights)
    eye = Eye(resolve(settings, arguments.backbone, weights, notes), threads=arguments.threads)
    found = pictures_asked(arguments, settings, arguments.seed)
    total = len(found.images)
    with bar_shown(SystemClock(), is_silent=arguments.quiet) as bar:
        looked = look_at(found.images, eye, settings, lambda count: bar("looking at pictures", count / total))
    told = report(looked, is_by_part=arguments.labelled_by == "part", share=arguments.suggest, seed=arguments.seed)
    told["left_out"] = [*found.left_out, *looked.left_out]
    told["notes"] += notes
    text = render(told, arguments.out)
    write_figures(told, text, arguments.out, option="--out")
    if str(arguments.out) != STDOUT:
        say(text)


def look_at(
    images: Sequence[TrainingImage], eye: Eye, settings: Settings, check: Callable[[int], None] | None = None
) -> Looked:
    """Read, measure and see each picture; what cannot be read is named. `check` is told how many were read.

    Raises:
        InputError: none can be read.
    """
    kept, measured, places, summaries, left_out = [], [], [], [], []
    for count, image in enumerate(images, 1):
        try:
            picture = read_picture(Path(image.path), settings, sha256=image.sha256)
        except InputError as error:
            left_out.append(str(error))
        else:
            place, summary = eye.look(picture)
            kept.append(image)
            measured.append(measure_picture(picture))
            places.append(place)
            summaries.append(summary)
        if check is not None:
            check(count)
    if not kept:
        raise InputError(f"images: none of {counted(len(images), 'picture')} can be read: {'; '.join(left_out[:3])}")
    return Looked(kept, measured, np.stack(places), np.stack(summaries), left_out)


def report(looked: Looked, *, is_by_part: bool, share: float, seed: int) -> dict[str, Any]:
    """All findings, for the file. `share`: of the pictures, how many labels are suggested at most."""
    names = [image.path for image in looked.images]
    groups = [image.group for image in looked.images]
    moved, note = find_moved(looked.measured)
    findings = [*find_unfit(looked.measured), *find_repeats(looked.measured, looked.places, names, groups), *moved]
    notes = [] if note is None else [note]
    suspects: list[dict[str, Any]] = []
    try:
        suspects = _suspects(looked, find_label_errors(looked, is_by_part=is_by_part, seed=seed), share)
    except ValueError as error:
        notes.append(f"{error}; no label was suspected")
    return {
        "pictures": len(names),
        "counts": {fault.value: count for fault, count in sorted(Counter(each.fault for each in findings).items())},
        "found": [_told(each, looked) for each in sorted(findings, key=lambda each: each.row)],
        "labelled_by": "part" if is_by_part else "picture",
        "suspect_labels": suspects,
        "notes": notes,
    }


def find_label_errors(looked: Looked, *, is_by_part: bool, seed: int) -> Suspicion:
    """How suspect each label is; see `suspect_labels`."""
    if is_by_part:
        # What lies where tells parts apart, which unseen parts gain nothing from.
        return suspect_labels(looked.summaries, looked.labels, [image.group for image in looked.images], seed)
    return suspect_labels(np.concatenate([looked.summaries, looked.places], axis=1), looked.labels, None, seed)


def render(told: dict[str, Any], path: Path) -> str:
    """What a person reads on the terminal."""
    rows = [("found", "pictures"), *((name, str(count)) for name, count in told["counts"].items())]
    lines = [counted(told["pictures"], "picture"), *(table(rows) if told["counts"] else ["nothing unfit or repeated"])]
    suspects = told["suspect_labels"]
    if suspects:
        first = suspects[0]
        lines.append(
            f"{counted(len(suspects), 'label')} to look at again, the most suspect first: {first['path']} is labelled "
            f"{first['label']}, looks like {first['looks_like']}"
        )
    lines += [f"note: {note}" for note in told["notes"]]
    if told["left_out"]:
        lines.append(f"left out: {len(told['left_out'])}, listed in the file")
    return "\n".join([*lines, f"written to {path}"]) + "\n"


def _told(finding: Finding, looked: Looked) -> dict[str, Any]:
    image = looked.images[finding.row]
    return {
        "path": image.path,
        "sha256": image.sha256,
        "group": image.group,
        "fault": finding.fault.value,
        "reason": finding.reason,
    }


def _suspects(looked: Looked, found: Suspicion, share: float) -> list[dict[str, Any]]:
    labels = looked.labels
    return [
        {
            "rank": rank,
            "path": looked.images[row].path,
            "sha256": looked.images[row].sha256,
            "group": looked.images[row].group,
            "label": labels[row],
            "looks_like": found.suggested[row],
            "suspicion": round(float(found.suspicion[row]), 6),
        }
        for rank, row in enumerate(found.order[: max(1, round(share * len(labels)))], 1)
    ]
