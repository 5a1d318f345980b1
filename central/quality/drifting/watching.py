# SPDX-License-Identifier: Apache-2.0
"""Watches a station whose normal is known: blocks in, signals out.

Two detectors on the same deviations from the baseline: blocks of 30 parts for what jumps, means of 60 of them for what
lasts or creeps. What was raised widens the channel's dead-band up to where it went, so that neither its lasting nor its
return is raised again, until the channel was back for two slow blocks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central.quality.drifting.blocks import CHANNELS, Block
from central.quality.drifting.collecting import STOP_S, WARM_UP_BLOCKS, Learnt
from central.quality.drifting.detector import Detector
from central.quality.drifting.reference import SLOW_BLOCKS, Normal

Floats = NDArray[np.float64]

MOST_PRODUCTS: Final = 1_000
RECENT_FAST: Final = 240
RECENT_SLOW: Final = 240
_PERIOD_S: Final = 30 * 86_400.0
_COMPONENTS: Final = 2 * 2 * len(CHANNELS)
# What a level from 3,000 parts may be off, in standard deviations of a slow block.
_LEVEL_DOUBT: Final = 1.5
# A channel is named beside the leading one when its own evidence is at least this share of what raises an alarm.
_NAMED: Final = 1e-3


@dataclass(frozen=True)
class DriftSignal:
    """A shift that the reference does not explain.

    Attributes:
        raised_at: capture time of the part that completed the evidence, seconds since the epoch, UTC.
        onset: when the shift most likely began, same unit.
        channels: which channels shifted, the clearest first.
        sizes: mean shift of each since the onset against what is usual at that time of day, in the channel's own unit
            (of the score: raw, not its logarithm).
    """

    raised_at: float
    onset: float
    channels: tuple[str, ...]
    sizes: Mapping[str, float]


@dataclass
class Level:
    """What is usual of a product: level and width of a block in the followed scale, float [c]; from how many blocks."""

    level: Floats
    scale: Floats
    blocks: int


@dataclass
class WarmUp:
    """Sums over the first blocks of a product never seen."""

    level: Floats
    spread: Floats
    blocks: int


@dataclass
class Watching:
    """See the module."""

    normal: Normal
    threshold: float
    products: dict[str, Level]
    warming: dict[str, WarmUp]
    fast: Detector
    slow: Detector
    last_ended: float
    history: Floats
    doubts: Floats
    filled: int = 0
    slow_history: Floats | None = None
    summed: Floats = field(default_factory=lambda: np.zeros(len(CHANNELS)))
    summed_count: int = 0
    summed_from: float = 0.0
    summed_s: float = 0.0
    shift: Floats = field(default_factory=lambda: np.zeros(len(CHANNELS)))
    back: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CHANNELS), np.int64))
    recent_at: Floats = field(default_factory=lambda: np.zeros(0))
    recent: Floats = field(default_factory=lambda: np.zeros((0, len(CHANNELS))))
    recent_product: list[str] = field(default_factory=list)
    hours_at: Floats = field(default_factory=lambda: np.zeros(0))
    hours: Floats = field(default_factory=lambda: np.zeros((0, len(CHANNELS))))
    fast_evidence: Floats = field(default_factory=lambda: np.zeros((len(CHANNELS), 2)))
    slow_evidence: Floats = field(default_factory=lambda: np.zeros((len(CHANNELS), 2)))
    is_pending: bool = False

    @classmethod
    def start(cls, learnt: Learnt, false_alarms: float) -> "Watching":
        """From a finished reference."""
        normal = learnt.normal
        ones = np.ones(len(CHANNELS))
        products = {name: Level(level.copy(), ones.copy(), learnt.blocks[name]) for name, level in learnt.level.items()}
        order = len(normal.fast.phi)
        return cls(
            normal, _PERIOD_S / false_alarms, products, {},
            Detector.empty(normal.fast.signature, normal.fast.sd),
            Detector.empty(normal.slow.signature, normal.slow.sd),
            learnt.last_ended, learnt.tail[::-1][:order].copy(), np.zeros(order),
            filled=order, slow_history=learnt.tail.mean(0),
        )  # fmt: skip

    def add(self, block: Block) -> DriftSignal | None:
        """One block; a signal when it completes the evidence."""
        followed = self.normal.follow(block.mean) - self.normal.course(block.middle)
        known = self.products.pop(block.product, None)
        if known is None:
            self._warm(block, followed)
            return None
        self.products[block.product] = known  # Last in the order: longest unseen goes first.
        deviation = np.where(self.normal.is_watched, (followed - known.level) / known.scale, 0.0)
        if known.blocks < self.normal.blocks and not self.shift.any():
            known.blocks += 1
            known.level = known.level + (followed - known.level) / known.blocks
        doubt = _LEVEL_DOUBT * math.sqrt(WARM_UP_BLOCKS / max(known.blocks, WARM_UP_BLOCKS))
        return self._follow(block, deviation, doubt)

    def _warm(self, block: Block, followed: Floats) -> None:
        warm = self.warming.setdefault(block.product, WarmUp(np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS)), 0))
        wide = block.spread / np.where(self.normal.is_log, np.maximum(block.mean, self.normal.floor), 1.0)
        warm.level, warm.spread, warm.blocks = warm.level + followed, warm.spread + wide, warm.blocks + 1
        if warm.blocks >= WARM_UP_BLOCKS:
            # A product that scatters more is held to its own scatter; one that scatters less still sees the same light.
            scale = np.maximum(warm.spread / warm.blocks / self.normal.spread, 1.0)
            self.products[block.product] = Level(warm.level / warm.blocks, scale, warm.blocks)
            del self.warming[block.product]
        for held in (self.warming, self.products):
            while len(held) > MOST_PRODUCTS:
                del held[next(iter(held))]

    def _follow(self, block: Block, deviation: Floats, doubt: float) -> DriftSignal | None:
        seconds = min(max(block.ended - self.last_ended, 1e-3), STOP_S)
        if block.began - self.last_ended > STOP_S:
            self.filled = 0  # After a stop the light of before says nothing.
        self.last_ended = block.ended
        self.recent_at = np.append(self.recent_at, block.began)[-RECENT_FAST:]
        self.recent = np.concatenate((self.recent, deviation[None]))[-RECENT_FAST:]
        self.recent_product = [*self.recent_product, block.product][-RECENT_FAST:]
        order = len(self.history)
        if self.filled >= order:
            residual = deviation - (self.normal.fast.phi * self.history).sum(0)
            wide = max(doubt, float(self.doubts.max())) * self.normal.slow_sd
            band, usual = _both_ways(self.normal.fast_band + wide), _both_ways(np.abs(self.shift))
            self.fast_evidence = self.fast.add(residual, band, usual, block.began, seconds)
        self.filled += 1
        self.history = np.concatenate((deviation[None], self.history[:-1]))
        self.doubts = np.append(doubt, self.doubts[:-1])
        self._slow(block, deviation, doubt, seconds)
        return self._decide(block)

    def _slow(self, block: Block, deviation: Floats, doubt: float, seconds: float) -> None:
        if self.summed_count == 0:
            self.summed_from = block.began
        self.summed = self.summed + deviation
        self.summed_s += seconds
        self.summed_count += 1
        if self.summed_count < SLOW_BLOCKS:
            return
        value, took = self.summed / SLOW_BLOCKS, self.summed_s
        self.summed, self.summed_count, self.summed_s = np.zeros(len(CHANNELS)), 0, 0.0
        self.hours_at = np.append(self.hours_at, self.summed_from)[-RECENT_SLOW:]
        self.hours = np.concatenate((self.hours, value[None]))[-RECENT_SLOW:]
        before = np.zeros(len(CHANNELS)) if self.slow_history is None else self.slow_history
        band = _both_ways(self.normal.slow_band + doubt * self.normal.slow_sd)
        usual = _both_ways(np.abs(self.shift))
        self.slow_evidence = self.slow.add(
            value - self.normal.slow.phi[0] * before, band, usual, self.summed_from, took
        )
        self.slow_history = value
        is_back = np.abs(value) <= self.normal.slow_band + self.normal.slow_sd
        self.back = np.where((self.shift != 0) & is_back, self.back + 1, 0)
        for channel in np.flatnonzero(self.back >= 2):
            self._settle(int(channel), 0.0)

    def _settle(self, channel: int, shift: float) -> None:
        self.shift[channel] = shift
        self.back[channel] = 0
        for detector, evidence in ((self.fast, self.fast_evidence), (self.slow, self.slow_evidence)):
            detector.reset(channel)
            evidence[channel] = 0

    def _decide(self, block: Block) -> DriftSignal | None:
        if (self.fast_evidence.sum() + self.slow_evidence.sum()) / _COMPONENTS < self.threshold:
            self.is_pending = False
            return None
        both = np.stack((self.fast_evidence, self.slow_evidence))
        scale, channel, direction = (int(each) for each in np.unravel_index(int(both.argmax()), both.shape))
        if scale == 0 and not self.is_pending:
            self.is_pending = True  # A flash of one block is none; the next one says whether it lasts.
            return None
        self.is_pending = False
        detector = (self.fast, self.slow)[scale]
        onset = detector.likeliest(channel, direction)
        sign = 1 - 2 * direction
        if scale == 0 and sign * (self.recent[-1, channel] - self._before(onset, channel)) < 0.5 * sign * (
            self.recent[-2, channel] - self._before(onset, channel)
        ):
            self._settle(channel, float(self.shift[channel]))
            return None
        strength = both.max((0, 2))
        named = [int(each) for each in np.argsort(-strength) if strength[each] / _COMPONENTS >= _NAMED * self.threshold]
        found = {each: self._size(onset, each) for each in named if each == channel or self._has_moved(onset, each)}
        product = self.products[block.product]
        usual = product.level + self.normal.course(block.middle)
        sizes = {CHANNELS[each]: self._in_own_unit(each, usual, size, product.scale) for each, size in found.items()}
        for each, size in found.items():
            self._settle(each, size)
        return DriftSignal(block.ended, onset, tuple(sizes), sizes)

    def _has_moved(self, onset: float, channel: int) -> bool:
        return abs(self._size(onset, channel)) > float(self.normal.slow_sd[channel])

    def _before(self, onset: float, channel: int) -> float:
        earlier = self.recent[self.recent_at < onset, channel][-10:]
        return float(earlier.mean()) if len(earlier) else 0.0

    def _size(self, onset: float, channel: int) -> float:
        at, values = (self.recent_at, self.recent) if onset >= self.recent_at[0] else (self.hours_at, self.hours)
        since = values[at >= onset, channel]
        return float(since.mean()) if len(since) else float(values[-1, channel])

    def _in_own_unit(self, channel: int, usual: Floats, size: float, scale: Floats) -> float:
        size *= float(scale[channel])
        if channel == 0 or self.normal.is_log[channel]:
            return float(math.exp(usual[channel]) * math.expm1(size))
        return size


def _both_ways(width: Floats) -> Floats:
    """The same up and down, float [c, 2]."""
    return np.repeat(width[:, None], 2, 1)
