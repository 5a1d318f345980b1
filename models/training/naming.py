# SPDX-License-Identifier: Apache-2.0
"""Lets a learned detector name defect classes, and says in words how well that went on parts of unseen groups.

For detectors that learn from labelled defects; a memory bank knows none. Called by `job`, once for each fit, so that
names and detector stand on the same front.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from models.data.parts import Part
from models.detectors.kinds import LEARN_FROM_LABELS
from models.detectors.naming_check import MIN_PARTS, ClassChecked, NamesChecked, fit_names
from models.measuring.figures import exact_interval
from models.training.finishing import Learned


def with_names(learned: Learned, parts: Sequence[Part], *, seed: int) -> Learned:
    """The same with names of defect classes, where they can be learnt; `parts` are the rows of its training set."""
    if learned.detector.kind not in LEARN_FROM_LABELS:
        return learned
    training = replace(learned.training, defect_classes=[part.image.defect_class for part in parts])
    checked = fit_names(training, learned.detector, seed=seed)
    return replace(
        learned, training=training, names=checked.names, notes=learned.notes + told_names(checked),
        told=learned.told | {"class_names": described(checked)},
    )  # fmt: skip


def told_names(checked: NamesChecked) -> list[str]:
    """Lines for the report; none where no defect has a class."""
    if not checked.labelled:
        return []
    if not checked.classes:
        got = ", ".join(f"{name} {parts}" for name, parts in checked.labelled)
        return [f"defect classes: not named; needs two classes of at least {MIN_PARTS} labelled parts each, got {got}"]
    same = 1 / len(checked.classes)
    means = f"on average of the classes {checked.mean_right:.1%}, where always the same name is right for {same:.1%}"
    if checked.names is None:
        return [f"defect classes: not named; on unseen groups names are no better than chance ({means})"]
    each = "; ".join(_told(one) for one in checked.classes)
    few = [
        f"defect class {name}: not named, {parts} of at least {MIN_PARTS} labelled parts; a part with it gets the name "
        "of the class that it resembles most"
        for name, parts in checked.too_few
    ]
    return [f"defect classes named right on unseen groups: {each}; {means}", *few]


def _told(one: ClassChecked) -> str:
    low, high = exact_interval(one.parts_right, one.parts)
    parts = f"{one.parts_right} of {one.parts} parts ({low:.0%}–{high:.0%})"
    if one.pictures == one.parts:
        return f"{one.name} {parts}"
    return f"{one.name} {one.pictures_right} of {one.pictures} pictures, all pictures of {parts}"


def described(checked: NamesChecked) -> dict[str, Any]:
    """The same for the package's report."""
    told = []
    for one in checked.classes:
        low, high = exact_interval(one.parts_right, one.parts)
        told.append(asdict(one) | {"parts_right_low": low, "parts_right_high": high})
    return {
        "is_named": checked.names is not None, "classes": told, "mean_right": checked.mean_right,
        "luck": checked.luck, "too_few": dict(checked.too_few),
    }  # fmt: skip
