# SPDX-License-Identifier: Apache-2.0
"""How well a package names defect classes: truth against name, of defective pictures that do not pass.

Those that pass get no name at a station, so they are counted apart; a truth that the package cannot name is never
right. Pure. Called by `evaluating` and `reporting.page_tables`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from models.measuring.figures import rate_of
from models.reporting.console import table, told_rate

Told = dict[str, Any]


def named_figures(
    truths: Sequence[str | None], named: Sequence[str | None], groups: Sequence[str], classes: Sequence[str]
) -> Told | None:
    """Counts and shares of names, as a dict for JSON; None: no picture has both a truth and a name.

    Args:
        truths: defect class of each picture, None where it is sound or its class is not known.
        named: what the package calls it, None where it gives no name.
        groups: the physical part of each picture.
        classes: what the package can name.

    Shape: `right` and `right_by_part` (a part is right when all its pictures are) are rates, `always_the_same` is that
    of the best constant answer, `by_class` says the same of each truth, with `named`, how often it got which name, and
    `unnamed`, how many of its pictures got none.
    """
    rows = [row for row, (truth, name) in enumerate(zip(truths, named, strict=True)) if truth and name]
    if not rows:
        return None
    by_class = {}
    for truth in sorted({told for told in truths if told}):
        mine = [row for row in rows if truths[row] == truth]
        names = Counter(named[row] for row in mine)
        by_class[truth] = {
            "is_known": truth in classes,
            "named": {name: names[name] for name in classes},
            "unnamed": sum(told == truth for told in truths) - len(mine),
            **_right(mine, truths, named, groups),
        }
    known = Counter(truths[row] for row in rows if truths[row] in classes)
    commonest = min(known, key=lambda truth: (-known[truth], str(truth)), default=None)
    return {
        "classes": list(classes),
        **_right(rows, truths, named, groups),
        "always_the_same": {"name": commonest, **rate_of(known[commonest], len(rows))},
        "by_class": by_class,
    }


def _right(rows: list[int], truths: Sequence[str | None], named: Sequence[str | None], groups: Sequence[str]) -> Told:
    right = [row for row in rows if truths[row] == named[row]]
    parts = {(groups[row], truths[row]) for row in rows}
    wrong = {(groups[row], truths[row]) for row in rows if truths[row] != named[row]}
    return {"right": rate_of(len(right), len(rows)), "right_by_part": rate_of(len(parts - wrong), len(parts))}


def naming_table(told: Told) -> list[str]:
    """The figures for a person: a row for each truth, a column for each name."""
    rows = [["truth \\ named", *told["classes"], "no name", "named right, pictures", "parts"]]
    rows += [
        [
            truth if each["is_known"] else f"{truth} (not known)",
            *(str(count) for count in each["named"].values()), str(each["unnamed"]),
            told_rate(each["right"]), told_rate(each["right_by_part"]),
        ]
        for truth, each in told["by_class"].items()
    ]  # fmt: skip
    blanks = [""] * (len(told["classes"]) + 1)
    constant = told["always_the_same"]
    rows.append(["all", *blanks, told_rate(told["right"]), told_rate(told["right_by_part"])])
    rows.append([f"always {constant['name'] or 'the same'}", *blanks, told_rate(constant), ""])
    return table(rows)
