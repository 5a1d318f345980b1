# SPDX-License-Identifier: Apache-2.0
"""Folders of real pictures played as a camera, with truth where labels exist.

Fits a scenario to a folder and draws the picture for each trigger. Does not decide when to change sides; the
demo does. Pictures are sent as they are: resizing belongs to the package's graph. Called by `plant.line.cameras` and
the `sightline` command.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from plant.line.effects import EffectTimeline, light_picture
from plant.line.feed import DefectPlan, LinePart, part_number_of
from plant.parts.catalogue import Pixels
from plant.replay.layouts import LAYOUTS, SOUND_PICTURES
from plant.replay.pictures import ReplayError, ReplayItem, ReplaySet
from plant.scenario import NewDefect, Scenario, StationPlan, Step

__all__ = [
    "ReplayError",
    "ReplayFeed",
    "ReplayItem",
    "ReplaySet",
    "adapt_scenario",
    "check_pictures",
    "load_replay",
    "read_picture",
]

_WHICH, _PICK = 21, 22
# A first training learns from ten or more and holds three in ten back to measure on.
_LEAST_COMMISSIONING = 15
_NAMED = 3


def load_replay(
    root: Path, layout: str | None, new_defect: str | None = None, scenario: Scenario | None = None
) -> ReplaySet:
    """Read a folder of pictures.

    Args:
        root: the folder.
        layout: one of `LAYOUTS`.
        new_defect: the kind that must not be seen before its part; upper and lower case are one.
        scenario: checked to have a part from which a new kind may appear, when one is named.

    Raises:
        ReplayError: unknown layout, the folder does not have it, nothing to commission with, no such kind, or a
            story without a new kind.
    """
    if layout not in LAYOUTS:
        raise ReplayError(f"--layout: expected one of {', '.join(LAYOUTS)}, got {layout or 'none'}")
    if not root.is_dir():
        raise ReplayError(f"source: expected a folder, got {root}")
    found = LAYOUTS[layout](root)
    if not found.stream:
        raise ReplayError(f"{root}: layout {layout} found no pictures to judge; check --layout and the folder")
    if not found.commissioning:
        expected = SOUND_PICTURES[layout]
        raise ReplayError(f"{root}: no sound pictures to commission with; layout {layout} expects {expected}")
    if new_defect is None:
        return found
    if found.is_ordered:
        raise ReplayError(f"new defect: layout {layout} is played in order of time; leave --new-defect out")
    if scenario is not None and scenario.new_defect is None:
        raise ReplayError(f"new defect: scenario {scenario.name} brings none; use --scenario new-defect")
    return replace(found, new_defect=found.kind_named(new_defect))


def check_pictures(root: Path, replay: ReplaySet) -> None:
    """Say at once what would otherwise stop a run half-way; looks at the beginning of each file only.

    Raises:
        ReplayError: files that are no pictures, too few sound ones for a first training, or a side that lacks
            what it has to show.
    """
    items = (*replay.commissioning, *replay.stream)
    bad = [item.path for item in items if not cv2.haveImageReader(str(item.path))]
    if bad:
        names = ", ".join(str(path.relative_to(root)) for path in bad[:_NAMED])
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise ReplayError(
            f"{root}: {len(bad)} of {len(items)} files cannot be read as pictures: {names}{more}; "
            "expected JPEG, PNG or BMP; remove the files or restore them"
        )
    if len(replay.commissioning) < _LEAST_COMMISSIONING:
        expected = SOUND_PICTURES[replay.layout]
        raise ReplayError(
            f"{root}: a first training needs at least {_LEAST_COMMISSIONING} sound pictures, got "
            f"{len(replay.commissioning)}; layout {replay.layout} expects {expected}"
        )
    _check_sides(root, replay)


def _check_sides(root: Path, replay: ReplaySet) -> None:
    if all(item.is_defective is None for item in replay.stream):
        # Without labels nothing is learnt, so the line stays on its first side.
        return
    kinds = {side: {item.defect_class or "sound" for item in replay.stream if item.side == side} for side in "AB"}
    needed = [] if replay.is_ordered else ["sound"]
    if replay.new_defect is not None:
        needed.append(replay.new_defect)
    lacking = [kind for kind in needed if not all(kind in shown for shown in kinds.values())]
    if lacking or not all(kinds.values()):
        what = {"sound": "sound pictures"}.get(lacking[0], f"pictures of {lacking[0]}") if lacking else "pictures"
        raise ReplayError(
            f"{root}: expected {what} to judge of two parts at least, one before and one after the new package, "
            "got fewer; add some, or choose another kind"
        )


def adapt_scenario(scenario: Scenario, replay: ReplaySet) -> Scenario:
    """The same story told with replayed pictures: their product, their kinds, their new kind.

    The known kinds share the total rate that the scenario gives to defects. Changeovers and batches of
    material fall away: the folder holds one product, made of what it was made of.
    """
    new_kind = replay.new_defect
    known = [kind for kind in replay.kinds if kind != new_kind]
    total = sum(scenario.defects.values())
    steps: list[Step] = []
    for step in scenario.steps:
        told = step.model_copy(update={"changeover": None, "material": None})
        if step.new_defect:
            new = NewDefect(kind=new_kind, rate=step.new_defect.rate) if new_kind else None
            told = told.model_copy(update={"new_defect": new, "note": f"{new_kind} appears" if new else ""})
        if told.is_for_pictures or told.is_for_processes or told.new_defect:
            steps.append(told)
    return scenario.model_copy(
        update={
            "stations": tuple(StationPlan(name=plan.name, product=replay.product) for plan in scenario.stations),
            "defects": {kind: total / len(known) for kind in known} if known and not replay.is_ordered else {},
            "steps": tuple(steps),
            "commissioning_parts": max(1, min(scenario.commissioning_parts, len(replay.commissioning))),
        }
    )


class ReplayFeed:
    """Pictures of a folder in front of one station's camera.

    With labels and no order, each part is drawn: its kind by the scenario's rates, the picture by chance
    among those of the side. A picture may come again, as a part number of its own. In order of time, the
    viewpoints are shared among the stations and each picture comes once, then all start again.
    """

    def __init__(self, scenario: Scenario, replay: ReplaySet, station: str) -> None:
        names = [plan.name for plan in scenario.stations]
        self._index, self._stations = names.index(station), len(names)
        self._scenario, self._replay = scenario, replay
        self._plan = DefectPlan(scenario, station, replay.product)
        self._timeline = EffectTimeline.of(scenario, station)
        self._pools: dict[tuple[str, str], list[ReplayItem]] = {}
        for item in replay.stream:
            self._pools.setdefault((item.side, item.defect_class or "sound"), []).append(item)
        # Real pictures bring their own light and noise; only the steps of the scenario are added.
        self._has_effects = any(step.is_for_pictures for step in scenario.steps)

    def part(self, trigger_number: int, side: str, since_side: int) -> LinePart:
        """See `PartFeed`.

        Raises:
            ReplayError: a picture cannot be read, or this side has none.
        """
        number = part_number_of(trigger_number, self._index, self._stations)
        item, wished = self._in_order(side, since_side) if self._replay.is_ordered else self._drawn(number, side)
        pixels = read_picture(item.path)
        is_dropped = False
        if self._has_effects:
            condition = self._timeline.at(number)
            drift = self._scenario.drift
            # The daily cycle is in the pictures already; what is left is what the steps added.
            base = EffectTimeline(drift, (), "").at(number)
            pixels = light_picture(pixels, condition.light - base.light + 1, condition.colour - base.colour)
            rng = np.random.default_rng([self._scenario.seed, _PICK, self._index, number])
            is_dropped = float(rng.random()) < condition.drop_rate
        return LinePart(
            pixels=pixels,
            part_number=number,
            part_id=item.part_id,
            product=self._replay.product,
            is_defective=item.is_defective,
            defect_class=item.defect_class,
            severity=None,
            mask_px=None if wished is None else _mask_px(item),
            side=side,
            is_dropped=is_dropped,
        )

    def commissioning(self, product: str, count: int) -> Iterator[LinePart]:
        """See `PartFeed`: the sound pictures set apart, each once, shared among the stations."""
        mine = self._replay.commissioning[self._index :: self._stations][:count]
        for number, item in enumerate(mine):
            yield LinePart(
                pixels=read_picture(item.path),
                part_number=number,
                part_id=item.part_id,
                product=product,
                is_defective=False,
                defect_class=None,
                severity=None,
                mask_px=None,
                side="commissioning",
            )

    def _drawn(self, number: int, side: str) -> tuple[ReplayItem, str | None]:
        rng = np.random.default_rng([self._scenario.seed, _WHICH, number])
        spec = self._plan.defect(number, self._replay.kinds, rng)
        kind = "sound" if spec is None else spec.kind
        pool = self._pools.get((side, kind)) or self._pools.get((side, "sound"))
        if not pool:
            raise ReplayError(f"side {side}: no pictures; add some to the folder or play only one side")
        return pool[int(rng.integers(len(pool)))], None if spec is None else spec.kind

    def _in_order(self, side: str, since_side: int) -> tuple[ReplayItem, str | None]:
        shown = [item for item in self._replay.stream if item.side == side]
        parts = sorted({item.part_id for item in shown})
        mine = {part for place, part in enumerate(parts) if place % self._stations == self._index} or set(parts)
        queue = [item for item in shown if item.part_id in mine]
        if not queue:
            raise ReplayError(f"side {side}: no pictures; add some to the folder or play only one side")
        item = queue[since_side % len(queue)]
        return item, item.defect_class


def read_picture(path: Path) -> Pixels:
    """A picture as BGR uint8 [H, W, 3], as its pixels lie, whatever EXIF says of turning; grey ones get three channels.

    Raises:
        ReplayError: it cannot be read as a picture.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise ReplayError(f"{path}: expected a JPEG, PNG or BMP picture; remove the file or restore it")
    return np.asarray(picture, np.uint8)


def _mask_px(item: ReplayItem) -> int | None:
    if item.mask_path is None:
        return None
    mask = cv2.imread(str(item.mask_path), cv2.IMREAD_GRAYSCALE)
    return None if mask is None else int(np.count_nonzero(mask > 127))
