# SPDX-License-Identifier: Apache-2.0
"""A folder of real pictures as the plant sees it: what commissions, what is judged, on which side.

Shapes and the division into sides A and B, so that parts whose pictures may be trained on are not judged
afterwards. Opens no file. Filled by `layouts`, played by `feed`.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from plant.errors import UsageError


class ReplayError(UsageError):
    """The folder is not what its layout says, or the wish does not fit it; the message says what to do."""


@dataclass(frozen=True)
class ReplayItem:
    """One picture. `is_defective` None: no label. `mask_path` where one is known. `side` A or B."""

    path: Path
    part_id: str
    is_defective: bool | None
    defect_class: str | None = None
    mask_path: Path | None = None
    side: str = "A"


@dataclass(frozen=True)
class ReplaySet:
    """A folder as read.

    commissioning: sound parts, never judged. stream: what the cameras show; in order of time when
    `is_ordered`. left_out: number of pictures not used, by reason. new_defect: the kind that is kept back.
    """

    layout: str
    product: str
    commissioning: tuple[ReplayItem, ...]
    stream: tuple[ReplayItem, ...]
    is_ordered: bool
    left_out: dict[str, int]
    new_defect: str | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Defect classes in the stream."""
        return tuple(sorted({item.defect_class for item in self.stream if item.defect_class}))

    def kind_named(self, text: str) -> str:
        """The spelling of a kind as the layout has it, whatever the case of `text`.

        Raises:
            ReplayError: there is no such kind.
        """
        found = next((kind for kind in self.kinds if kind.casefold() == text.casefold().removeprefix("mt_")), None)
        if found is None:
            known = ", ".join(self.kinds) or "none: this layout has no labels"
            raise ReplayError(f"new defect: expected one of {known}, got {text!r}")
        return found


def divide(items: list[ReplayItem], preferred_a: frozenset[str] = frozenset()) -> list[ReplayItem]:
    """Give each part a side, so that every kind stands on both. No part stands on two.

    `preferred_a` names parts to put on A where that is possible; the others go to B if any are preferred, else by
    turns. Rare kinds choose first: they have the fewest parts to choose from.
    """
    kinds_of: dict[str, set[str]] = {}
    for item in items:
        kinds_of.setdefault(item.part_id, set()).add(item.defect_class or "sound")
    parts_of = Counter(kind for kinds in kinds_of.values() for kind in kinds)
    have: Counter[tuple[str, str]] = Counter()
    sides: dict[str, str] = {}
    for part in sorted(kinds_of, key=lambda p: (min(parts_of[kind] for kind in kinds_of[p]), p)):
        rarest = min(kinds_of[part], key=lambda kind: (parts_of[kind], kind))
        on_a, on_b = have[rarest, "A"], have[rarest, "B"]
        side = "A" if on_a <= on_b else "B"
        if preferred_a and rarest != "sound":
            wanted = "A" if part in preferred_a else "B"
            # The wish gives way when it would leave a side without a third of the kind.
            is_fair = have[rarest, wanted] < max(1, 2 * parts_of[rarest] // 3)
            side = wanted if is_fair else side
        sides[part] = side
        have.update((kind, side) for kind in kinds_of[part])
    return [replace(item, side=sides[item.part_id]) for item in items]
