# SPDX-License-Identifier: Apache-2.0
"""Tables of the report page: defect classes and their names, variants, the search for harmful nodes.

Every text from outside is escaped here. Draws nothing. Called by `page`.
"""

import html
from collections.abc import Iterable, Sequence
from typing import Any, Final

from contracts.jobs import EvaluationReport, HoldoutVerdict, VariantMeasured
from contracts.vocabulary import Judgement, Verdict
from models.measuring.figures import rate_of
from models.measuring.naming_figures import named_figures
from models.packages.reading import OpenPackage

# Neither passed nor rejected by the machine.
HELD: Final = (Verdict.REVIEW, Verdict.NO_DECISION)
MOST_CLASSES: Final = 40
# Several parity errors stand on one page; each says of which pictures it is.
_PARITY: Final = "parity error, all golden images"
_PARITY_TOLD: Final = (
    "Parity error: largest difference to the score of fp32, in distances from a typical sound score to the NG limit. "
    "Tables give that of all golden images, defective ones too; the rules go by that of the sound golden images alone, "
    "or of sound training pictures, and a note that names a parity error says which."
)


def safe(text: object) -> str:
    """Text as HTML. What is no printable character is spelt out: it could turn the line around or hide in it."""
    told = "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode() for each in str(text)
    )
    return html.escape(told)


def of_judgement(holdout: Iterable[HoldoutVerdict], judgement: Judgement) -> list[HoldoutVerdict]:
    """Those of one judgement."""
    return [verdict for verdict in holdout if verdict.judgement is judgement]


def count_of(holdout: Sequence[HoldoutVerdict], *verdicts: Verdict) -> int:
    """How many got one of these verdicts."""
    return sum(each.candidate_verdict in verdicts for each in holdout)


def interval(low: float, high: float) -> str:
    """Both ends in percent."""
    return f"{100 * low:.1f} – {100 * high:.1f} %"


def classes_section(report: EvaluationReport) -> str:
    """Escapes and held parts of each defect class."""
    by_class: dict[str, list[HoldoutVerdict]] = {}
    for verdict in of_judgement(report.holdout, Judgement.DEFECTIVE):
        by_class.setdefault(verdict.defect_class or "unnamed", []).append(verdict)
    if not by_class:
        return ""
    rows = [
        [
            name, len(verdicts), count_of(verdicts, Verdict.OK), count_of(verdicts, *HELD),
            count_of(verdicts, Verdict.NG), interval(*_ends(count_of(verdicts, Verdict.OK), len(verdicts))),
        ]
        for name, verdicts in sorted(by_class.items(), key=lambda item: -len(item[1]))[:MOST_CLASSES]
    ]  # fmt: skip
    more = f'<p class="muted">{len(by_class) - len(rows)} more classes.</p>' if len(by_class) > len(rows) else ""
    heads = ["defect", "held out", "escaped", "held for review", "rejected", "escapes, 95 % interval"]
    return f"<h2>By defect</h2>{table(heads, rows)}{more}"


def names_section(report: EvaluationReport, package: OpenPackage) -> str:
    """Truth against name, where the package names defect classes."""
    classes, holdout = package.manifest.defect_classes, report.holdout
    told = named_figures(
        [each.defect_class if each.judgement is Judgement.DEFECTIVE else None for each in holdout],
        [each.candidate_class for each in holdout], [each.group for each in holdout], classes,
    )  # fmt: skip
    if told is None:
        return ""
    rows = [
        [
            truth if each["is_known"] else f"{truth} (not known)", *each["named"].values(), each["unnamed"],
            _told_share(each["right"]), _told_share(each["right_by_part"]),
        ]
        for truth, each in list(told["by_class"].items())[:MOST_CLASSES]
    ]  # fmt: skip
    constant, right = told["always_the_same"], _told_share(told["right"])
    same = ""
    if constant["name"]:
        same = f", and always saying {safe(constant['name'])} would be right for {constant['count']}"
    heads = ["truth, and what it was named", *classes, "no name", "named right, pictures", "named right, parts"]
    return (
        f"<h2>Names of defects</h2>{table(heads, rows)}"
        f'<p class="muted">Of defective pictures that do not pass; one that passes gets no name. {right} were named '
        f"right in all{same}. A part is named right when all its pictures are. A defect of a class that is not known "
        "gets the name of the class that it resembles most.</p>"
    )


def _told_share(rate: dict[str, Any]) -> str:
    return f"{rate['count']} of {rate['of']} ({interval(rate['low'], rate['high'])})" if rate["of"] else "–"


def _ends(count: int, of: int) -> tuple[float, float]:
    rate = rate_of(count, of)
    return rate["low"], rate["high"]


def variants_section(report: EvaluationReport) -> str:
    """What was measured of each variant, with several tiles also for each of them."""
    is_tiled = report.tiles.count > 1
    of_tiles = f", for {report.tiles.count} tiles ({report.tiles.told}) and, beside it, for one" if is_tiled else ""
    rows = [
        [
            each.variant, _number(each.image_auroc), _number(each.average_precision),
            _number(each.recall_at_1pct_overkill), _number(each.au_pro), _number(each.infer_p50_ms, 1),
            *([_number(each.tile_p50_ms, 2)] if is_tiled else []), _number(each.parity_error, 2), _included(each),
        ]
        for each in report.variants
    ]  # fmt: skip
    heads = [
        "variant", "AUROC", "average precision", "recall at 1 % overkill", "AU-PRO", "median ms",
        *(["ms a tile"] if is_tiled else []), _PARITY, "",
    ]  # fmt: skip
    return (
        f"<h2>Variants</h2>{table(heads, rows)}"
        '<p class="muted">AUROC: chance that a defective picture scores above a sound one. Median ms: bare session on '
        f"the machine that trained{of_tiles}. {_PARITY_TOLD}</p>"
    )


def _included(variant: VariantMeasured) -> str:
    if not variant.is_included:
        return f"left out: {variant.note}"
    told = f", {variant.float_nodes} of {variant.of_nodes} nodes in float" if variant.float_nodes else ""
    return f"in the package{told}"


def search_section(report: EvaluationReport) -> str:
    """The steps by which harmful nodes went back to float; nothing where no variant was refused."""
    if not report.searched:
        return ""
    rows = [
        [
            each.variant, each.step, f"{each.float_nodes} of {each.of_nodes}", _number(each.parity_error, 2),
            _number(each.image_auroc), _number(each.au_pro), "taken" if each.is_accepted else f"refused: {each.note}",
        ]
        for each in report.searched
    ]  # fmt: skip
    heads = ["variant", "step", "nodes in float", _PARITY, "AUROC", "AU-PRO", ""]
    return (
        f"<h2>Search for the nodes that harm INT8</h2>{table(heads, rows)}"
        '<p class="muted">Nodes are ranked on training pictures by the harm that each does alone; the worst go back '
        "to float, more at each step, until the rules let the variant pass. What the golden images refuse is not run "
        "over the held-out pictures.</p>"
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "not known" if value is None else f"{value:.{digits}f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of escaped texts."""
    head = "".join(f"<th>{safe(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
