# SPDX-License-Identifier: Apache-2.0
"""`sightline-models compare`: two packages on the very same held-out pictures, picture by picture and part by part.

Says what changed and how sure that is; decides nothing: central's gate does. A is the one that runs, B the one that
might replace it. Both judge at their own limits. Called by `commands`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from contracts.vocabulary import Variant, Verdict
from models.errors import InputError
from models.measuring.figures import (
    CONFIDENCE,
    Bools,
    Floats,
    average_precision,
    image_auroc,
    percentile_interval,
    recall_at_overkill,
    resampled_aurocs,
    sign_test,
)
from models.measuring.holdout import HeldOut, is_trained_here
from models.measuring.judging import Check, rate_judged, scores_of, verdicts_of
from models.packages.reading import OpenPackage
from models.reporting.console import number, table, told_left_out, told_rate
from models.wording import counted

RESAMPLES: Final = 2000
PREFERRED: Final = "preferred"
Told = dict[str, Any]
Verdicts = list[Verdict]


@dataclass(frozen=True)
class Rivals:
    """Two packages and the variant of each that judges."""

    a: OpenPackage
    b: OpenPackage
    variant_a: Variant
    variant_b: Variant

    @classmethod
    def named(cls, a: OpenPackage, b: OpenPackage, variant: str) -> "Rivals":
        """`preferred` takes of each what a CPU station runs; another name must be in both.

        Raises:
            InputError: a package without that variant; says which ones it has.
        """
        if variant == PREFERRED:
            return cls(a, b, a.preferred(), b.preferred())
        for name, package in (("A", a), ("B", b)):
            has = [entry.variant for entry in package.manifest.variants]
            if variant not in has:
                raise InputError(
                    f"variant: expected {PREFERRED} or one that both have, got {variant!r}; {name} has {', '.join(has)}"
                )
        return cls(a, b, Variant(variant), Variant(variant))


@dataclass(frozen=True)
class Judged:
    """The pictures as both see them; all [n], in one order."""

    scores_a: Floats
    scores_b: Floats
    verdicts_a: Verdicts
    verdicts_b: Verdicts
    is_defective: Bools
    groups: list[str]
    seed: int

    def kept(self, rows: Bools) -> "Judged":
        """Some of the pictures."""
        places = np.flatnonzero(rows)
        return Judged(
            self.scores_a[rows], self.scores_b[rows], [self.verdicts_a[place] for place in places],
            [self.verdicts_b[place] for place in places], self.is_defective[rows],
            [self.groups[place] for place in places], self.seed,
        )  # fmt: skip


def compare_packages(
    rivals: Rivals, held_out: HeldOut, *, threads: int = 1, seed: int = 0, check: Check | None = None
) -> Told:
    """Figures of both, differences (B − A) with intervals, verdicts that changed, as a dict for JSON."""
    a, b = rivals.a, rivals.b
    scores_a = scores_of(a, rivals.variant_a, held_out, threads, check)
    scores_b = scores_of(b, rivals.variant_b, held_out, threads, check)
    judged = Judged(
        scores_a, scores_b, verdicts_of(scores_a, a.manifest.limits), verdicts_of(scores_b, b.manifest.limits),
        held_out.is_defective, held_out.groups, seed,
    )  # fmt: skip
    classes = held_out.classes
    by_class = {
        name: _figures(judged.kept((classes == name) | ~judged.is_defective))
        | {"escapes": escapes(judged.kept(classes == name))}
        for name in held_out.class_names
    }
    return {
        "a": _who(a, rivals.variant_a),
        "b": _who(b, rivals.variant_b),
        "pictures": held_out.described(),
        "confidence": CONFIDENCE,
        **_figures(judged),
        "escapes": escapes(judged),
        "overkills": overkills(judged),
        "held": _held(judged),
        "classes": by_class,
        "changed": _changed_pictures(judged, held_out),
        "left_out": held_out.gallery.left_out,
        "notes": [*held_out.notes, *_notes(rivals, judged, held_out)],
    }


def _who(package: OpenPackage, variant: Variant) -> Told:
    limits = package.manifest.limits
    return {
        "package": package.package_id, "product": package.manifest.product, "variant": variant.value,
        "detector": package.manifest.detector.value,
        "limits": {"ok_limit": limits.ok_limit, "ng_limit": limits.ng_limit},
    }  # fmt: skip


def _figures(judged: Judged) -> Told:
    """AUROC, AP and recall of both on the pictures that both gave a number, and B − A."""
    rows = np.isfinite(judged.scores_a) & np.isfinite(judged.scores_b)
    both = judged.kept(rows)
    told: Told = {}
    for name, figure in (
        ("image_auroc", image_auroc),
        ("average_precision", average_precision),
        ("recall_at_1pct_overkill", lambda scores, marks: recall_at_overkill(scores, marks, 0.01)),
        ("recall_at_5pct_overkill", lambda scores, marks: recall_at_overkill(scores, marks, 0.05)),
    ):
        first, second = (figure(scores, both.is_defective) for scores in (both.scores_a, both.scores_b))
        told[name] = {
            "a": first, "b": second,
            "difference": None if first is None or second is None else second - first,
        }  # fmt: skip
    told["image_auroc"] |= _auroc_intervals(both)
    return told


def _auroc_intervals(both: Judged) -> Told:
    """Bootstrap over parts; both packages meet the same draws, so what is hard for both cancels."""
    if not both.is_defective.any() or both.is_defective.all():
        return {"difference_low": None, "difference_high": None, "resamples": 0, "by": "part"}
    rng = np.random.default_rng(both.seed)
    drawn = resampled_aurocs(
        [both.scores_a, both.scores_b], both.is_defective, both.groups, resamples=RESAMPLES, rng=rng
    )
    interval = percentile_interval(drawn[:, 1] - drawn[:, 0]) or (None, None)
    return {"difference_low": interval[0], "difference_high": interval[1], "resamples": len(drawn), "by": "part"}


def escapes(judged: Judged) -> Told:
    """Escapes of both, and which defective pictures and parts changed: `mended` or `newly_let_through`."""
    return _of_kind(judged, judged.is_defective, Verdict.OK, "newly_let_through")


def overkills(judged: Judged) -> Told:
    """Overkills of both, and which sound pictures and parts changed: `mended` or `new`."""
    return _of_kind(judged, ~judged.is_defective, Verdict.NG, "new")


def _of_kind(judged: Judged, rows: Bools, fault: Verdict, worse_name: str) -> Told:
    """`fault` is the wrong verdict of these pictures: OK of defective ones, NG of sound ones."""
    was = np.array([verdict is fault for verdict in judged.verdicts_a], np.bool_) & rows
    now = np.array([verdict is fault for verdict in judged.verdicts_b], np.bool_) & rows
    net: dict[str, int] = {}
    touched: set[str] = set()
    for group, before, after in zip(judged.groups, was, now, strict=True):
        net[group] = net.get(group, 0) + int(before) - int(after)
        if before != after:
            touched.add(group)
    mended = sum(net[group] > 0 for group in touched)
    worse = sum(net[group] < 0 for group in touched)
    in_all = len({group for group, is_in in zip(judged.groups, rows, strict=True) if is_in})
    pictures_mended, pictures_worse = int((was & ~now).sum()), int((now & ~was).sum())
    return {
        "a": rate_judged(judged.verdicts_a, fault, rows),
        "b": rate_judged(judged.verdicts_b, fault, rows),
        "by_picture": {
            "mended": pictures_mended, worse_name: pictures_worse, "of": int(rows.sum()),
            "sign_test_p": sign_test(pictures_mended, pictures_worse),
        },
        "by_group": {
            "mended": mended, worse_name: worse, "even": len(touched) - mended - worse, "of": in_all,
            "sign_test_p": sign_test(mended, worse),
        },
    }  # fmt: skip


def _held(judged: Judged) -> Told:
    return {
        kind: {
            name: rate_judged(verdicts, Verdict.REVIEW, rows)
            for name, verdicts in (("a", judged.verdicts_a), ("b", judged.verdicts_b))
        }
        for kind, rows in (("sound", ~judged.is_defective), ("defective", judged.is_defective))
    }


def _changed_pictures(judged: Judged, held_out: HeldOut) -> list[Told]:
    """Each picture whose verdict changed, defective ones first, for looking at."""
    changed = [row for row in range(len(judged.groups)) if judged.verdicts_a[row] is not judged.verdicts_b[row]]
    changed.sort(key=lambda row: (not judged.is_defective[row], str(held_out.parts[row].path)))
    return [
        {
            "picture": str(held_out.parts[row].path), "group": judged.groups[row],
            "defect_class": str(held_out.classes[row]) or None,
            "a": judged.verdicts_a[row].value, "b": judged.verdicts_b[row].value,
            "score_a": _finite(judged.scores_a[row]), "score_b": _finite(judged.scores_b[row]),
        }
        for row in changed
    ]  # fmt: skip


def _finite(score: np.float32) -> float | None:
    return float(score) if np.isfinite(score) else None


def _notes(rivals: Rivals, judged: Judged, held_out: HeldOut) -> list[str]:
    a, b = rivals.a, rivals.b
    notes = []
    if a.package_id == b.package_id:
        notes.append("A and B are the same package")
    if a.manifest.product != b.manifest.product:
        notes.append(f"A is for product {a.manifest.product}, B for {b.manifest.product}")
    if rivals.variant_a is not rivals.variant_b:
        notes.append(f"A is judged by {rivals.variant_a}, B by {rivals.variant_b}")
    unsure = [name for name, each in (("A", a), ("B", b)) if not is_trained_here(held_out, each.manifest.lineage)]
    if unsure:
        notes.append(
            f"the training pictures of {' and '.join(unsure)} are not exactly the training side of this folder: make "
            "sure that none of the held-out ones was learnt from"
        )
    for name, scores in (("A", judged.scores_a), ("B", judged.scores_b)):
        if count := int((~np.isfinite(scores)).sum()):
            notes.append(f"{name} gave no number for {counted(count, 'picture')}: NO_DECISION, in no figure of ranks")
    return notes


def render(told: Told) -> str:
    """The comparison for a person."""
    pictures = told["pictures"]
    lines = [
        *(
            f"{name.upper()}  {told[name]['package']}  {told[name]['product']}, {told[name]['detector']}, "
            f"{told[name]['variant']}"
            for name in ("a", "b")
        ),
        (
            f"held out: {pictures['sound']} sound and {counted(pictures['defective'], 'defective picture')} of "
            f"{counted(pictures['groups']['all'], 'part')}"
        ),
        "",
    ]
    rows = [["", "A", "B", "B − A"]]
    for title, key in (
        ("image AUROC", "image_auroc"),
        ("average precision", "average_precision"),
        ("recall at 1 % overkill", "recall_at_1pct_overkill"),
        ("recall at 5 % overkill", "recall_at_5pct_overkill"),
    ):
        rows.append([title, number(told[key]["a"]), number(told[key]["b"]), _difference(told[key])])
    for title, key in (("escapes", "escapes"), ("overkills", "overkills")):
        rows.append([title, told_rate(told[key]["a"]), told_rate(told[key]["b"]), ""])
    for kind in ("sound", "defective"):
        both = told["held"][kind]
        rows.append([f"held for review, {kind}", told_rate(both["a"]), told_rate(both["b"]), ""])
    lines += [*table(rows), "", *table(_change_rows(told))]
    if told["classes"]:
        lines += ["", *table(_class_rows(told["classes"]))]
    ends = [f"note: {line}" for line in told["notes"]] + told_left_out(told["left_out"], "see --json")
    if told["changed"]:
        ends.insert(0, f"{counted(len(told['changed']), 'picture')} changed verdict; --json names them")
    return "\n".join([*lines, "", *ends] if ends else lines) + "\n"


def _difference(figure: Told) -> str:
    if figure["difference"] is None:
        return "–"
    text = f"{figure['difference']:+.4f}"
    if figure.get("difference_low") is not None:
        text += f" ({figure['difference_low']:+.4f} – {figure['difference_high']:+.4f})"
    return text


def _change_rows(told: Told) -> list[list[str]]:
    rows = [["changed", "mended", "new", "even", "of", "sign test p"]]
    for title, key, worse in (("escapes", "escapes", "newly_let_through"), ("overkills", "overkills", "new")):
        for unit, name in (("by part", "by_group"), ("by picture", "by_picture")):
            each = told[key][name]
            counts = [str(each[part]) for part in ("mended", worse)] + [str(each.get("even", "")), str(each["of"])]
            rows.append([f"{title}, {unit}", *counts, number(each["sign_test_p"])])
    return rows


def _class_rows(classes: Told) -> Sequence[list[str]]:
    rows = [["class", "AUROC A", "AUROC B", "B − A", "escapes A", "escapes B", "mended", "new"]]
    for name, each in classes.items():
        auroc, gone = each["image_auroc"], each["escapes"]
        rows.append(
            [
                name, number(auroc["a"]), number(auroc["b"]), _difference(auroc),
                f"{gone['a']['count']} of {gone['a']['of']}", f"{gone['b']['count']} of {gone['b']['of']}",
                str(gone["by_picture"]["mended"]), str(gone["by_picture"]["newly_let_through"]),
            ]
        )  # fmt: skip
    return rows
