# SPDX-License-Identifier: Apache-2.0
"""What a training may learn from, how large it sees a part, and which judged pictures are held out to test it.

Pure: no pictures, no files, no process. Called by `services/trainings/learning.py`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from contracts.jobs import LEAST_SIZE_PX, MOST_SIZE_PX
from contracts.manifest import GraphSignature
from contracts.tiles import Tiles
from contracts.vocabulary import Judgement, LabelSource, PartUse


@dataclass(frozen=True)
class JudgedPicture:
    """A picture with a firm judgement. `group` is the physical part; one group never stands on both sides."""

    sha256: str
    group: str
    judgement: Judgement
    defect_class: str | None
    source: LabelSource
    # Production lot, where there is one, and when it was taken (else labelled).
    lot: str | None = None
    at: datetime | None = None


class SplitBy(StrEnum):
    """What stands on one side of the holdout as a whole, and which of what is new is held out first.

    PART: parts, in an order that is as good as chance. LOT: lots, so that a figure says how the model does on a lot it
    has not seen. TIME: parts, the newest, so that it says how the model does on what comes later.
    """

    PART = "part"
    LOT = "lot"
    TIME = "time"


@dataclass(frozen=True)
class Readiness:
    """Whether there are enough judged pictures, and if not, how many are missing."""

    good: int
    defective: int
    missing_good: int
    missing_defective: int

    @property
    def is_enough(self) -> bool:
        """Nothing is missing."""
        return self.missing_good == 0 and self.missing_defective == 0

    def in_words(self) -> str:
        """One sentence for screens and alarms."""
        have = f"{self.good} good and {self.defective} defective pictures are judged"
        if self.is_enough:
            return f"{have}: enough to train"
        return f"{have}; {self.missing_good} good and {self.missing_defective} defective ones are missing"


def readiness(good: int, defective: int, min_good: int, min_defective: int) -> Readiness:
    """Compare counts of firm judgements with what is demanded."""
    return Readiness(good, defective, max(0, min_good - good), max(0, min_defective - defective))


@dataclass(frozen=True)
class SeenField:
    """What a model sees of a picture: `tiles` of `size_px` a side."""

    size_px: int
    tiles: Tiles


def field_like(champion: GraphSignature | None, otherwise: SeenField) -> SeenField:
    """The field that a retraining sees: that of the champion, or the one of a first training.

    With another one the candidate would not be the same product learnt from more labels: with fewer tiles it is blind
    to the small defects for which somebody chose them. A champion whose field no job can ask for (a foreign graph, not
    square) lends its tiles alone. The backbone is not taken over: the trainer takes the best that is at hand now, as
    it did for the champion, and falls back where weights are gone.
    """
    if champion is None:
        return otherwise
    size_px = champion.model_height_px // champion.tiles.rows
    is_asked_so = champion.tiles.field_px(size_px) == (champion.model_height_px, champion.model_width_px)
    if is_asked_so and LEAST_SIZE_PX <= size_px <= MOST_SIZE_PX:
        return SeenField(size_px, champion.tiles)
    return SeenField(otherwise.size_px, champion.tiles)


def split_by(
    by: SplitBy, pictures: Sequence[JudgedPicture], share: float, settled: Mapping[str, PartUse]
) -> dict[str, PartUse]:
    """Side of every part; see `split_holdout` and `SplitBy`.

    Of lots: a part that was settled before stays, and its lot goes with it (to the holdout, where its parts are on both
    sides: what trained already stays trained). A part of two lots joins them to the first.
    """
    if by is SplitBy.LOT:
        return _split_lots(pictures, share, settled)
    if by is SplitBy.PART:
        return split_holdout(pictures, share, settled)
    newest: dict[str, float] = {}
    for picture in pictures:
        at = picture.at.timestamp() if picture.at else 0.0
        newest[picture.group] = max(at, newest.get(picture.group, at))
    return split_holdout(pictures, share, settled, lambda group: (-newest[group], _rank(group)))


def _split_lots(pictures: Sequence[JudgedPicture], share: float, settled: Mapping[str, PartUse]) -> dict[str, PartUse]:
    lot_of: dict[str, str] = {}
    for picture in pictures:
        lot_of.setdefault(picture.group, f"lot {picture.lot}" if picture.lot else picture.group)
    sides: dict[str, PartUse] = {}
    for group, lot in lot_of.items():
        if group in settled and sides.get(lot) is not PartUse.HOLDOUT:
            sides[lot] = settled[group]
    use = split_holdout([replace(picture, group=lot_of[picture.group]) for picture in pictures], share, sides)
    return {group: settled.get(group, use[lot]) for group, lot in lot_of.items()}


def split_holdout(
    pictures: Sequence[JudgedPicture],
    share: float,
    settled: Mapping[str, PartUse],
    order: Callable[[str], tuple[float, str]] | None = None,
) -> dict[str, PartUse]:
    """Side of every group, the same for the same input.

    A group that once stood on a side stays there (`settled`): a part that trained the champion never tests the
    candidate. New groups fill the holdout to its share of pictures within each stratum (judgement, defect class,
    source), in the order of a hash of their name, so neither the order of arrival nor anybody's wish decides. With two
    groups or more of a judgement, both sides get at least one. `order`: another one than that of the hash.
    """
    order = order or (lambda group: (0.0, _rank(group)))
    strata: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    kind = _kind_of_groups(pictures)
    for group, stratum in kind.items():
        strata[stratum].append(group)
    sizes = Counter(picture.group for picture in pictures)
    use: dict[str, PartUse] = {}
    for members in strata.values():
        use.update(_split_stratum(members, share, settled, sizes, order))
    for judgement in (Judgement.GOOD, Judgement.DEFECTIVE):
        members = [group for group, stratum in kind.items() if stratum[0] == judgement.value]
        _give_both_sides(members, use, settled, order)
    return use


def bound_pictures(pictures: Sequence[JudgedPicture], at_most: int) -> list[JudgedPicture]:
    """The defective ones first, then the newest good ones, in the given (oldest first) order, `at_most` in all."""
    if len(pictures) <= at_most:
        return list(pictures)
    defective = [picture for picture in pictures if picture.judgement is Judgement.DEFECTIVE]
    keep = {picture.sha256 for picture in defective[-at_most:]}
    room = at_most - len(keep)
    good = [picture for picture in pictures if picture.judgement is Judgement.GOOD]
    keep |= {picture.sha256 for picture in good[len(good) - room :]} if room > 0 else set()
    return [picture for picture in pictures if picture.sha256 in keep]


def _kind_of_groups(pictures: Iterable[JudgedPicture]) -> dict[str, tuple[str, str, str]]:
    kind: dict[str, tuple[str, str, str]] = {}
    for picture in pictures:
        stratum = (picture.judgement.value, picture.defect_class or "", picture.source.value)
        # A part with one defective picture is a defective part, whatever its other pictures show.
        if picture.group not in kind or picture.judgement is Judgement.DEFECTIVE:
            kind[picture.group] = stratum
    return kind


def _split_stratum(
    members: list[str],
    share: float,
    settled: Mapping[str, PartUse],
    sizes: Mapping[str, int],
    order: Callable[[str], tuple[float, str]],
) -> dict[str, PartUse]:
    # Counted in pictures, not in parts: one part may have been seen a hundred times, another once.
    wanted = share * sum(sizes[group] for group in members)
    use = {group: settled[group] for group in members if group in settled}
    held = sum(sizes[group] for group, side in use.items() if side is PartUse.HOLDOUT)
    for group in sorted((group for group in members if group not in settled), key=order):
        # A group goes where it brings the holdout nearer to its share.
        use[group] = PartUse.HOLDOUT if held + sizes[group] / 2 <= wanted else PartUse.TRAIN
        held += sizes[group] if use[group] is PartUse.HOLDOUT else 0
    free = sorted((group for group in members if group not in settled), key=lambda group: (sizes[group], order(group)))
    if len(members) >= 2 and free and len(set(use.values())) == 1:
        use[free[0]] = PartUse.TRAIN if use[free[0]] is PartUse.HOLDOUT else PartUse.HOLDOUT
    return use


def _give_both_sides(
    members: list[str],
    use: dict[str, PartUse],
    settled: Mapping[str, PartUse],
    order: Callable[[str], tuple[float, str]],
) -> None:
    if len(members) < 2:
        return
    for side in (PartUse.HOLDOUT, PartUse.TRAIN):
        if all(use[group] is not side for group in members):
            free = [group for group in members if group not in settled]
            if free:
                use[min(free, key=order)] = side


def _rank(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
