# SPDX-License-Identifier: Apache-2.0
"""What a training gives up so as to end in time, and in which order. Pure.

First the further looks at pictures (detectors that learn from labels), then sound training pictures, evenly, down to
`FEWEST_SOUND_PARTS`. Never labelled defects, never held-out pictures: without them nobody knows what the rest is worth.
The time is an estimate from the time that one picture takes; what is given up is said. Called by `job`.
"""

from dataclasses import dataclass
from typing import Final

from models.data.parts import Part

FEWEST_SOUND_PARTS: Final = 200
# Fitting takes about as long as the features it works on; seldom longer.
_FIT_SHARE: Final = 1.0


@dataclass(frozen=True)
class Plan:
    """What is learnt from, and what was given up."""

    parts: list[Part]
    has_looks: bool
    notes: list[str]


def plan_within(left_s: float, parts: list[Part], *, looks: int, judged: int, picture_s: float) -> Plan:
    """The most that fits.

    Args:
        left_s: time left, s.
        parts: training parts in an order of their own.
        looks: how many further looks there would be.
        judged: how many pictures are scored afterwards, each variant counted.
        picture_s: time that one picture takes in the trunk, s.
    """

    def needed_s(learnt: int) -> float:
        return picture_s * (learnt * (1 + _FIT_SHARE) + judged)

    if needed_s(len(parts) + looks) <= left_s:
        return Plan(parts, has_looks=True, notes=[])
    notes = []
    if looks:
        notes.append(f"budget: no further looks at pictures ({looks} given up)")
    sound = [part for part in parts if not part.is_defective]
    affordable = int((left_s / picture_s - judged) / (1 + _FIT_SHARE)) - (len(parts) - len(sound))
    keep = min(len(sound), max(FEWEST_SOUND_PARTS, affordable))
    if keep < len(sound):
        notes.append(f"budget: {keep} of {len(sound)} sound training pictures are used, evenly chosen")
        kept = {id(sound[place * len(sound) // keep]) for place in range(keep)}
        parts = [part for part in parts if part.is_defective or id(part) in kept]
    if needed_s(len(parts)) > left_s:
        notes.append(
            f"budget: about {needed_s(len(parts)) / 60:.1f} min are needed at the least, "
            f"{max(left_s, 0) / 60:.1f} min are left; it will take longer"
        )
    return Plan(parts, has_looks=False, notes=notes)
