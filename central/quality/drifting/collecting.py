# SPDX-License-Identifier: Apache-2.0
"""Collects the blocks of the reference and says when it is one: long enough, full enough, of one piece.

Bounded: of each hour at most as many blocks are kept as fill 100,000 over the reference. A reference with a step in it
begins anew at the step, and says so.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central.quality.drifting.blocks import BLOCK_PARTS, CHANNELS, Block
from central.quality.drifting.reference import DAY_S, SLOW_BLOCKS, Normal, learn

Floats = NDArray[np.float64]

WARM_UP_BLOCKS: Final = 100
_MOST_BLOCKS: Final = 100_000
_LEAST_BLOCKS: Final = 24 * SLOW_BLOCKS
_MOST_NOTES: Final = 20
STOP_S: Final = 600.0


@dataclass(frozen=True)
class Reference:
    """How far a reference is.

    Attributes:
        is_ready: whether the monitor watches by now.
        began: capture time of its first part, seconds since the epoch; None before any.
        blocks: of 30 parts, so far.
        notes: what was too short or odd, oldest first.
    """

    is_ready: bool
    began: float | None
    blocks: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Learnt:
    """What is normal, its last deviations, and the level [c] and number of blocks of each product that is known."""

    normal: Normal
    tail: Floats
    level: dict[str, Floats]
    blocks: dict[str, int]
    last_ended: float


@dataclass
class Collecting:
    """Blocks so far; `add` them until it gives what was learnt."""

    days: float
    names: list[str] = field(default_factory=list)
    code: list[int] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    middle: list[float] = field(default_factory=list)
    mean: list[Floats] = field(default_factory=list)
    spread: list[Floats] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hour: int = -1
    of_hour: int = 0
    closed: int = 0
    tried_hour: int = -1

    def told(self, is_ready: bool) -> Reference:
        """For people."""
        count = self.closed if is_ready else len(self.middle)
        notes = list(self.notes)
        if not is_ready:
            notes.append(f"too short so far: {count} blocks of 30 parts of at least {_LEAST_BLOCKS}, {self.days} days")
        return Reference(is_ready, self.began[0] if self.began else None, count, tuple(notes))

    def add(self, block: Block) -> Learnt | None:
        """One block more; what was learnt, when that was the last."""
        hour = int(block.ended // 3600)
        if hour != self.hour:
            self.hour, self.of_hour = hour, 0
        self.of_hour += 1
        if self.of_hour <= _MOST_BLOCKS / (24 * self.days):
            self._keep(block)
        # One block less, so that three days of parts are three days: the last one ends before the first of the next.
        block_s = (block.ended - block.began) * BLOCK_PARTS / (BLOCK_PARTS - 1)
        if block.ended + block_s - self.began[0] < self.days * DAY_S:
            return None
        if len(self.middle) < _LEAST_BLOCKS:
            self._note(
                f"too short: {self.days} days held {len(self.middle)} blocks of 30 parts, {_LEAST_BLOCKS} are needed;"
                " it is being extended"
            )
            return None
        return self._learn() if self._is_due() else None

    def _is_due(self) -> bool:
        """A fit that said no is tried again an hour later, not with every block."""
        if self.tried_hour == self.hour:
            return False
        self.tried_hour = self.hour
        return True

    def _keep(self, block: Block) -> None:
        if block.product not in self.names:
            self.names.append(block.product)
        self.code.append(self.names.index(block.product))
        self.began.append(block.began)
        self.ended.append(block.ended)
        self.middle.append(block.middle)
        self.mean.append(block.mean)
        self.spread.append(block.spread)

    def _learn(self) -> Learnt | None:
        code, counts = np.array(self.code), np.bincount(self.code, minlength=len(self.names))
        is_known = counts[code] >= WARM_UP_BLOCKS
        if is_known.sum() < _LEAST_BLOCKS:
            self._note("too short: too few products came for 3,000 parts; it is being extended")
            return None
        known = np.flatnonzero(counts >= WARM_UP_BLOCKS)
        renamed = np.searchsorted(known, code[is_known])
        began, ended = np.array(self.began)[is_known], np.array(self.ended)[is_known]
        is_next = np.append(False, began[1:] - ended[:-1] < STOP_S)
        middle = np.array(self.middle)[is_known]
        found = learn(middle, renamed, np.array(self.mean)[is_known], np.array(self.spread)[is_known], is_next)
        if found.normal is None:
            self._note(f"odd: {CHANNELS[found.odd_channel]} took a step at {found.odd_at:.0f}; begun anew from there")
            self._drop_before(found.odd_at)
            return None
        for channel, is_watched in zip(CHANNELS, found.normal.is_watched, strict=True):
            if not is_watched:
                self._note(f"odd: {channel} did not vary; it is not watched")
        levels = {self.names[row]: found.level[place] for place, row in enumerate(known)}
        blocks = {self.names[row]: int(counts[row]) for row in known}
        learnt = Learnt(found.normal, found.tail, levels, blocks, self.ended[-1])
        self.closed, first = len(self.middle), self.began[0]
        self._drop_before(np.inf)
        self.began = [first]
        return learnt

    def _drop_before(self, at: float) -> None:
        kept = [row for row, middle in enumerate(self.middle) if middle >= at]
        for name in ("code", "began", "ended", "middle", "mean", "spread"):
            setattr(self, name, [getattr(self, name)[row] for row in kept])

    def _note(self, text: str) -> None:
        kind = text.split(":", 1)[0]
        if self.notes and kind == "too short" and self.notes[-1].startswith(kind):
            self.notes[-1] = text
        else:
            self.notes = [*self.notes, text][-_MOST_NOTES:]
