# SPDX-License-Identifier: Apache-2.0
"""What a training gives up so as to end in time, and in which order. Pure.

First the further looks at pictures (detectors that learn from labels), then a third of the head's steps, then sound
training pictures, evenly, down to `FEWEST_SOUND_PARTS`, at last the head of the mixed detector; without it sound
pictures come back as far as they fit. Never labelled defects, never held-out pictures: without them nobody knows what
the rest is worth. What is given up is said, with the time that it would have taken. Where even the least does not fit
the training takes longer, and says by how much: a package that comes late is worth more than none. Called by `job`.
"""

from dataclasses import dataclass
from typing import Final

from models.data.parts import Part
from models.detectors.head import HEAD_STEPS

FEWEST_SOUND_PARTS: Final = 200
# On printed boards AUROC was .97 with these and .99 with all, but .90 with half of these.
FEWER_HEAD_STEPS: Final = 200
_LONG_S: Final = 90.0


@dataclass(frozen=True)
class Costs:
    """What a training costs here, as measured on a few pictures, s.

    Attributes:
        picture_s: one picture in the trunk that is learnt on.
        row_s: its part in the fit, head apart.
        fixed_s: of the fit, however many there are.
        after_s: all that follows the fit: held-out pictures and others through every variant.
        step_s: one step of the head.
        head_rounds: how often a head is trained; 0: none is.
        is_head_optional: whether the detector is one without it.
    """

    picture_s: float
    row_s: float
    fixed_s: float = 0.0
    after_s: float = 0.0
    step_s: float = 0.0
    head_rounds: int = 0
    is_head_optional: bool = True

    def rows_s(self, rows: int) -> float:
        """Of so many pictures and looks."""
        return rows * (self.picture_s + self.row_s)

    def head_s(self, steps: int) -> float:
        """Of a head with so many steps."""
        return steps * self.head_rounds * self.step_s

    def needed_s(self, rows: int, steps: int) -> float:
        """Of all."""
        return self.fixed_s + self.after_s + self.rows_s(rows) + self.head_s(steps)

    def affordable_rows(self, left_s: float, steps: int) -> int:
        """How many pictures fit beside the rest."""
        return max(0, int((left_s - self.needed_s(0, steps)) / max(self.picture_s + self.row_s, 1e-6)))


@dataclass(frozen=True)
class Plan:
    """What is learnt from, and what was given up."""

    parts: list[Part]
    has_looks: bool
    head_steps: int
    notes: list[str]


def plan_within(left_s: float, parts: list[Part], *, looks: int, costs: Costs) -> Plan:
    """The most that fits.

    Args:
        left_s: time left, s.
        parts: training parts in an order of their own.
        looks: how many further looks there would be.
        costs: what it all costs.
    """
    whole_s = costs.needed_s(len(parts) + looks, HEAD_STEPS)
    if whole_s <= left_s:
        return Plan(parts, has_looks=True, head_steps=HEAD_STEPS, notes=[])
    notes = [f"budget: all of it would still take about {told_s(whole_s)}, {told_s(max(left_s, 0))} are left"]
    if looks:
        notes.append(f"budget: no further looks at pictures ({looks} given up, about {told_s(costs.rows_s(looks))})")
    sound = [part for part in parts if not part.is_defective]
    labelled = len(parts) - len(sound)
    steps, keep = _most(left_s, len(sound), labelled, costs)
    if steps < HEAD_STEPS:
        saved = f"about {told_s(costs.head_s(HEAD_STEPS) - costs.head_s(steps))} given up"
        kept = f"the head learns in {steps} of {HEAD_STEPS} steps" if steps else "no head, the other opinions alone"
        notes.append(f"budget: {kept} ({saved})")
    if keep < len(sound):
        saved = told_s(costs.rows_s(len(sound) - keep))
        notes.append(
            f"budget: {keep} of {len(sound)} sound training pictures are used, evenly chosen (about {saved} given up)"
        )
        chosen = {id(sound[place * len(sound) // keep]) for place in range(keep)}
        parts = [part for part in parts if part.is_defective or id(part) in chosen]
    least_s = costs.needed_s(len(parts), steps)
    if least_s > left_s:
        notes.append(
            f"budget: about {told_s(least_s)} are needed at the least, {told_s(max(left_s, 0))} are left; it will "
            f"take longer, by about {told_s(least_s - max(left_s, 0))}"
        )
    return Plan(parts, has_looks=False, head_steps=steps, notes=notes)


def _most(left_s: float, sound: int, labelled: int, costs: Costs) -> tuple[int, int]:
    """Steps of the head and sound pictures: the first that fit by the order of the module, else the least."""
    offers = [(HEAD_STEPS, sound), (FEWER_HEAD_STEPS, min(sound, FEWEST_SOUND_PARTS)), (0, 0)]
    if not costs.head_rounds:
        offers = [(HEAD_STEPS, 0)]
    elif not costs.is_head_optional:
        offers = offers[:2]
    steps, keep = HEAD_STEPS, sound
    for steps, fewest in offers:
        keep = min(sound, costs.affordable_rows(left_s, steps) - labelled)
        if keep >= max(fewest, 0):
            break
    return steps, max(keep, min(sound, FEWEST_SOUND_PARTS))


def told_over(took_s: float, asked_s: float | None) -> list[str]:
    """Says by how much a training took longer than was asked for, if anything was."""
    if asked_s is None or took_s <= asked_s:
        return []
    more_s = told_s(took_s - asked_s)
    return [f"budget: exceeded by {more_s}: {told_s(asked_s)} were asked for, {told_s(took_s)} taken before packaging"]


def told_s(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.0f} s" if seconds < _LONG_S else f"{seconds / 60:.1f} min"
