# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says of each defect class, and in what experiments differ. Pure; called by the routes.

A part counts once, by its worst picture, as in `gating`: missed where one was judged OK, overkilled where one was
judged NG or could not be decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from central.domain.gating import UNNAMED, missed, overkilled
from contracts.jobs import EvaluationReport, HoldoutVerdict
from contracts.vocabulary import Judgement

GOOD: Final = "good"


@dataclass(frozen=True)
class ClassFigures:
    """Held-out parts of a defect class, or the good ones, on which a package erred. Champion None: there was none."""

    name: str
    parts: int
    pictures: int
    wrong: int
    champion_wrong: int | None


@dataclass(frozen=True)
class Difference:
    """A value that is not the same in all; None where one has none."""

    name: str
    values: list[Any]


def by_class(evaluation: EvaluationReport) -> list[ClassFigures]:
    """Good parts first (overkill), then each defect class (missed), by name. UNSURE pictures count nowhere."""
    grouped: dict[str, dict[str, list[HoldoutVerdict]]] = {}
    for each in evaluation.holdout:
        if each.judgement not in (Judgement.GOOD, Judgement.DEFECTIVE):
            continue
        name = GOOD if each.judgement is Judgement.GOOD else each.defect_class or UNNAMED
        grouped.setdefault(name, {}).setdefault(each.group, []).append(each)
    return [_figures(name, grouped[name]) for name in sorted(grouped, key=lambda name: (name != GOOD, name))]


def _figures(name: str, parts: Mapping[str, Sequence[HoldoutVerdict]]) -> ClassFigures:
    errs = overkilled if name == GOOD else missed
    said = [[each.champion_verdict for each in part] for part in parts.values()]
    # A champion that left a picture out cannot be held against one that did not.
    knows = bool(said) and all(verdict is not None for part in said for verdict in part)
    return ClassFigures(
        name=name,
        parts=len(parts),
        pictures=sum(len(part) for part in parts.values()),
        wrong=sum(any(errs(each.candidate_verdict) for each in part) for part in parts.values()),
        champion_wrong=sum(any(errs(verdict) for verdict in part if verdict is not None) for part in said)
        if knows
        else None,
    )


def flat(given: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Nested words to one level, joined by dots; lists stay as they are."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        where = f"{under}.{name}" if under else name
        found.update(flat(value, where) if isinstance(value, Mapping) else {where: value})
    return found


def differences(several: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Where they differ, by name; values in the order of what was given."""
    level = [flat(each) for each in several]
    names = sorted({name for each in level for name in each})
    told = [Difference(name, [each.get(name) for each in level]) for name in names]
    return [each for each in told if any(value != each.values[0] for value in each.values)]
