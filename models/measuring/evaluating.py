# SPDX-License-Identifier: Apache-2.0
"""`sightline-models evaluate`: all figures of a package's variants on held-out pictures, for scripts and for people.

Measures and says what the figures rest on; decides nothing. Escapes are defective parts judged OK, overkills sound
parts judged NG, both at the package's own limits. Called by `commands`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import Variant, Verdict
from models.errors import InputError
from models.measuring.figures import (
    CONFIDENCE,
    Figure,
    Floats,
    average_precision,
    image_auroc,
    overkill_at_recall,
    percentile_interval,
    rate_of,
    recall_at_overkill,
    resampled_figures,
)
from models.measuring.holdout import HeldOut, is_trained_here
from models.measuring.judging import (
    WARM_UP_RUNS,
    Check,
    Seen,
    judge,
    rate_judged,
    rate_of_parts,
    scores_of,
    verdicts_of,
)
from models.measuring.naming_figures import named_figures, naming_table
from models.measuring.pixel_figures import PRO_LIMIT
from models.packages.reading import OpenPackage, class_named
from models.reporting.console import number, percent, table, told_left_out, told_rate
from models.wording import counted

RESAMPLES: Final = 1000
_ONE_CLASS: Final = "needs sound and defective held-out pictures"
# Figures that need no limit, by their keys.
_RANKS: Final[dict[str, Figure]] = {
    "image_auroc": image_auroc,
    "average_precision": average_precision,
    "recall_at_1pct_overkill": partial(recall_at_overkill, overkill=0.01),
    "recall_at_5pct_overkill": partial(recall_at_overkill, overkill=0.05),
    "overkill_at_95pct_recall": partial(overkill_at_recall, recall=0.95),
    "overkill_at_99pct_recall": partial(overkill_at_recall, recall=0.99),
    "overkill_at_100pct_recall": partial(overkill_at_recall, recall=1.0),
}
Told = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """How to measure."""

    variants: list[Variant]
    threads: int = 1
    seed: int = 0


def wanted_variants(package: OpenPackage, name: str) -> list[Variant]:
    """`all`, or one variant of the package.

    Raises:
        InputError: no such variant, or not in this package; says which ones it has.
    """
    has = [entry.variant for entry in package.manifest.variants]
    if name == "all":
        return has
    if name not in has:
        raise InputError(f"variant: expected all or one of the package's ({', '.join(has)}), got {name!r}")
    return [Variant(name)]


def evaluate_package(package: OpenPackage, held_out: HeldOut, asked: Asked, check: Check | None = None) -> Told:
    """Figures of each asked variant, as a dict for JSON; `check` is told of each picture.

    Shape: `{"package": id, "variants": {name: figures}, …}`. What cannot be known is null, and `unknown` of the
    variant says why. Rates are `{"count", "of", "rate", "low", "high"}`.
    """
    manifest = package.manifest
    seen = {variant: judge(package, variant, held_out, asked.threads, check) for variant in asked.variants}
    exact = seen[Variant.FP32].scores if Variant.FP32 in seen else None
    if exact is None and any(entry.variant is Variant.FP32 for entry in manifest.variants):
        # Parity needs the float graph's scores even when its own figures were not asked for.
        exact = scores_of(package, Variant.FP32, held_out, asked.threads, check)
    notes = list(held_out.notes)
    is_known = is_trained_here(held_out, manifest.lineage)
    if not is_known:
        notes.append(
            "the package's training pictures are not exactly the training side of this folder: make sure that it did "
            "not learn from the held-out ones"
        )
    figures = {}
    for variant, each in seen.items():
        figures[variant.value] = _of_variant(each, exact, package, held_out, asked)
    return {
        "package": package.package_id,
        "product": manifest.product,
        "detector": manifest.detector.value,
        "limits": {"ok_limit": manifest.limits.ok_limit, "ng_limit": manifest.limits.ng_limit},
        "pictures": held_out.described(),
        "is_trained_on_the_other_side": is_known,
        "confidence": CONFIDENCE,
        "pro_limit": PRO_LIMIT,
        "variants": figures,
        "left_out": held_out.gallery.left_out,
        "notes": notes,
    }


def _of_variant(seen: Seen, exact: Floats | None, package: OpenPackage, held_out: HeldOut, asked: Asked) -> Told:
    limits = package.manifest.limits
    is_defective, classes = held_out.is_defective, held_out.classes
    verdicts = verdicts_of(seen.scores, limits)
    by_class = {
        name: _ranks(seen, held_out, classes == name)
        | {
            "escapes": rate_judged(verdicts, Verdict.OK, classes == name),
            "escapes_by_part": rate_of_parts(verdicts, Verdict.OK, classes == name, held_out.groups),
            "caught": rate_judged(verdicts, Verdict.NG, classes == name),
            "held": rate_judged(verdicts, Verdict.REVIEW, classes == name),
            "no_decision": rate_judged(verdicts, Verdict.NO_DECISION, classes == name)["count"],
        }
        | _pixels(seen, name)
        for name in held_out.class_names
    }
    held = {
        "sound": rate_judged(verdicts, Verdict.REVIEW, ~is_defective),
        "defective": rate_judged(verdicts, Verdict.REVIEW, is_defective),
    }
    parity = _parity(seen, exact, package, held_out)
    p50_ms, p99_ms = (float(np.quantile(seen.times_ms, share)) for share in (0.5, 0.99))
    return {
        **_ranks(seen, held_out, is_defective),
        "intervals": _intervals(seen.scores, held_out, np.random.default_rng(asked.seed)),
        **_pixels(seen, None),
        "escapes": rate_judged(verdicts, Verdict.OK, is_defective),
        "overkills": rate_judged(verdicts, Verdict.NG, ~is_defective),
        "escapes_by_part": rate_of_parts(verdicts, Verdict.OK, is_defective, held_out.groups),
        "overkills_by_part": rate_of_parts(verdicts, Verdict.NG, ~is_defective, held_out.groups),
        "held": held,
        "held_for_review": held["sound"]["count"] + held["defective"]["count"],
        "no_decision": sum(verdict is Verdict.NO_DECISION for verdict in verdicts),
        "infer_p50_ms": p50_ms,
        "infer_p99_ms": p99_ms,
        "latency": {
            "p50_ms": p50_ms, "p99_ms": p99_ms, "runs": len(seen.times_ms), "warm_up_runs": WARM_UP_RUNS,
            "threads": asked.threads,
        },
        "parity": parity,
        "per_class": {name: told["image_auroc"] for name, told in by_class.items()},
        "classes": by_class,
        "class_names": _names(seen, verdicts, package, held_out),
        "unknown": _unknown(seen, exact, parity, held_out),
    }  # fmt: skip


def _names(seen: Seen, verdicts: list[Verdict], package: OpenPackage, held_out: HeldOut) -> Told | None:
    """Truth against name; None where the package names nothing, or there is nothing held out to name."""
    classes = package.manifest.defect_classes
    named = [class_named(verdict, told, classes) for verdict, told in zip(verdicts, seen.class_scores, strict=True)]
    truths = [part.image.defect_class if part.is_defective else None for part in held_out.parts]
    return named_figures(truths, named, held_out.groups, classes)


def _ranks(seen: Seen, held_out: HeldOut, defective: NDArray[np.bool_]) -> Told:
    """Figures that need no limit: all sound pictures against these defective ones, with finite scores."""
    rows = (defective | ~held_out.is_defective) & np.isfinite(seen.scores)
    scores, marked = seen.scores[rows], defective[rows]
    return {name: figure(scores, marked) for name, figure in _RANKS.items()}


def _pixels(seen: Seen, defect_class: str | None) -> Told:
    tally = seen.pixels(defect_class)
    if tally is None:
        return {"pixel_auroc": None, "au_pro": None, "regions": 0}
    return {"pixel_auroc": tally.auroc(), "au_pro": tally.au_pro(), "regions": tally.regions}


def _intervals(scores: Floats, held_out: HeldOut, rng: np.random.Generator) -> Told | None:
    """Of each figure of ranks, by drawing parts anew; None where a class is missing."""
    rows = np.isfinite(scores)
    is_defective = held_out.is_defective[rows]
    if not is_defective.any() or is_defective.all():
        return None
    groups = [group for group, is_in in zip(held_out.groups, rows, strict=True) if is_in]
    drawn = resampled_figures(list(_RANKS.values()), scores[rows], is_defective, groups, resamples=RESAMPLES, rng=rng)
    told: Told = {"by": "part", "resamples": len(drawn)}
    for name, values in zip(_RANKS, drawn.T, strict=True):
        interval = percentile_interval(values)
        told[name] = None if interval is None else {"low": interval[0], "high": interval[1]}
    return told


def _parity(seen: Seen, exact: Floats | None, package: OpenPackage, held_out: HeldOut) -> Told | None:
    """Distance from fp32, in units of the way from a typical sound score to the NG limit; see the manifest."""
    if exact is None:
        return None
    limits = package.manifest.limits
    both = np.isfinite(seen.scores) & np.isfinite(exact)
    sound = exact[~held_out.is_defective & both]
    scale = limits.ng_limit - float(np.median(sound)) if len(sound) else None
    apart = np.abs(seen.scores[both].astype(np.float64) - exact[both])
    mine, theirs = verdicts_of(seen.scores, limits), verdicts_of(exact, limits)
    changed = sum(one is not other for one, other in zip(mine, theirs, strict=True))
    is_known = len(apart) > 0 and scale is not None and scale > 0
    return {
        "against": Variant.FP32.value,
        "unit": "ng_limit − median score of the sound held-out pictures by fp32",
        "unit_in_scores": scale,
        "largest": float(apart.max()) / scale if is_known and scale else None,
        "p99": float(np.quantile(apart, 0.99)) / scale if is_known and scale else None,
        "largest_in_scores": float(apart.max()) if len(apart) else None,
        "verdicts_changed": rate_of(changed, len(mine)),
    }


def _unknown(seen: Seen, exact: Floats | None, parity: Told | None, held_out: HeldOut) -> dict[str, str]:
    """Why a figure is null."""
    told = {}
    is_defective = held_out.is_defective
    if not is_defective.any() or is_defective.all():
        kind = "defective" if is_defective.all() else "sound"
        names = [*_RANKS, "intervals"]
        told = dict.fromkeys(names, f"{_ONE_CLASS}; all {len(is_defective)} are {kind}")
    if seen.why_no_pixels:
        told |= dict.fromkeys(("pixel_auroc", "au_pro"), seen.why_no_pixels)
    if exact is None:
        told["parity"] = "the package has no fp32 variant"
    elif parity is not None and parity["largest"] is None:
        told["parity"] = "no distance from a typical sound score up to the NG limit to measure in"
    if not np.isfinite(seen.scores).all():
        count = int((~np.isfinite(seen.scores)).sum())
        told["scores"] = f"{counted(count, 'picture')} got no number as a score: NO_DECISION, in no figure of ranks"
    if seen.skipped:
        told["heatmaps"] = f"values that are no numbers in {counted(seen.skipped, 'heatmap')}: in no pixel figure"
    return told


_ROWS: Final = (
    ("image AUROC", "image_auroc", number),
    ("average precision", "average_precision", number),
    ("pixel AUROC", "pixel_auroc", number),
    ("AU-PRO (to 0.3)", "au_pro", number),
    ("recall at 1 % overkill", "recall_at_1pct_overkill", percent),
    ("recall at 5 % overkill", "recall_at_5pct_overkill", percent),
    ("overkill at 95 % recall", "overkill_at_95pct_recall", percent),
    ("overkill at 99 % recall", "overkill_at_99pct_recall", percent),
    ("overkill at 100 % recall", "overkill_at_100pct_recall", percent),
)


def render(told: Told) -> str:
    """The figures for a person."""
    pictures, variants = told["pictures"], told["variants"]
    lines = [
        f"package {told['package']}",
        (
            f"product {told['product']}, detector {told['detector']}, OK below {told['limits']['ok_limit']:.4g}, "
            f"NG from {told['limits']['ng_limit']:.4g}"
        ),
        (
            f"held out: {pictures['sound']} sound and {counted(pictures['defective'], 'defective picture')} of "
            f"{counted(pictures['groups']['all'], 'part')}, {pictures['with_mask']} with a mask"
        ),
        "",
    ]
    rows = [["", *variants]]
    rows += [[title, *(_told_figure(each, key, form) for each in variants.values())] for title, key, form in _ROWS]
    for kind in ("escapes", "overkills"):
        rows.append([f"{kind}, pictures", *(told_rate(each[kind]) for each in variants.values())])
        rows.append([f"{kind}, parts", *(told_rate(each[f"{kind}_by_part"]) for each in variants.values())])
    for kind in ("sound", "defective"):
        rows.append([f"held for review, {kind}", *(told_rate(each["held"][kind]) for each in variants.values())])
    rows.append(["p50 / p99 ms", *(_told_latency(each) for each in variants.values())])
    rows.append(["parity, largest / p99", *(_told_parity(each) for each in variants.values())])
    rows.append(["verdicts unlike fp32", *(_told_changed(each) for each in variants.values())])
    lines += table(rows)
    for name, each in variants.items():
        if each["classes"]:
            lines += ["", f"{name} by defect class", *_class_table(each["classes"])]
        if each["class_names"] is not None:
            lines += ["", f"{name} names of defective pictures that do not pass", *naming_table(each["class_names"])]
    unknown = {f"{key}: {why}" for each in variants.values() for key, why in each["unknown"].items()}
    lines += [""] * bool(unknown or told["notes"] or told["left_out"])
    lines += [f"not known: {line}" for line in sorted(unknown)] + [f"note: {line}" for line in told["notes"]]
    lines += told_left_out(told["left_out"], "see --json")
    return "\n".join(lines) + "\n"


def _told_figure(each: Told, key: str, form: Callable[[float | None], str]) -> str:
    """A figure, with its interval where it has one."""
    interval = (each["intervals"] or {}).get(key)
    return form(each[key]) + ("" if interval is None else f" ({form(interval['low'])} – {form(interval['high'])})")


def _told_latency(each: Told) -> str:
    latency = each["latency"]
    count = latency["threads"]
    threads = f"{count} thread{'s' if count > 1 else ''}"
    return f"{latency['p50_ms']:.2f} / {latency['p99_ms']:.2f} ({threads}, {latency['runs']} runs)"


def _told_parity(each: Told) -> str:
    parity = each["parity"]
    return "–" if parity is None else f"{number(parity['largest'], 3)} / {number(parity['p99'], 3)}"


def _told_changed(each: Told) -> str:
    return "–" if each["parity"] is None else told_rate(each["parity"]["verdicts_changed"])


def _class_table(classes: Told) -> list[str]:
    rows = [["class", "AUROC", "AP", "AU-PRO", "recall 1 %", "recall 5 %", "escapes"]]
    rows += [
        [
            name, number(each["image_auroc"]), number(each["average_precision"]), number(each["au_pro"]),
            percent(each["recall_at_1pct_overkill"]), percent(each["recall_at_5pct_overkill"]),
            told_rate(each["escapes"]),
        ]
        for name, each in classes.items()
    ]  # fmt: skip
    return table(rows)
