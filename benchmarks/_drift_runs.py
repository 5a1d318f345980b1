# SPDX-License-Identifier: Apache-2.0
"""Runs of the drift monitor on streams of known changes: false alarms and delays. Used by tests and `quality_drift`."""

import copy
import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks._drift_streams import BEGAN, DAY, Change, Floats, Plant, Stream
from central.quality.drift import DriftMonitor, DriftSignal

_PIECE: Final = 14_400
_USUAL: Final = Plant()


@dataclass(frozen=True)
class Found:
    """How each repetition went.

    Attributes:
        delay: parts from the change to its signal, inf when none came in time; float [n].
        onset_error: parts between the change and the onset told, NaN without a signal; float [n].
        channels: what each signal named.
    """

    delay: Floats
    onset_error: Floats
    channels: tuple[tuple[str, ...], ...]

    @property
    def median(self) -> float:
        """Of the delay."""
        return float(np.median(self.delay))

    @property
    def p90(self) -> float:
        """Of the delay; no interpolation, so that one that was never found stays one."""
        return float(np.quantile(self.delay, 0.9, method="higher"))


def feed(
    monitor: DriftMonitor, stream: Stream, count: int, change: Change | None = None, product: str = "p"
) -> list[DriftSignal]:
    """Give the next parts of a stream to a monitor."""
    at, channels = stream.parts(count, change)
    return monitor.update_many(at, np.full(count, product), channels)


def referenced(seed: int, plant: Plant | None = None, days: float = 3.0) -> tuple[Stream, DriftMonitor]:
    """A stream and a monitor that just finished its reference, at another time of day for each seed."""
    return copy.deepcopy(_referenced(seed, plant or _USUAL, days))


@functools.lru_cache(maxsize=8)
def _referenced(seed: int, plant: Plant, days: float) -> tuple[Stream, DriftMonitor]:
    stream, monitor = Stream(seed, plant, began=BEGAN + 7_919 * seed), DriftMonitor(reference_days=days)
    while not monitor.reference.is_ready:
        feed(monitor, stream, _PIECE)
    return stream, monitor


def false_alarms(seeds: Iterable[int], days: int, plant: Plant | None = None) -> int:
    """Signals on streams that do not change, in all."""
    found = 0
    for seed in seeds:
        stream, monitor = referenced(seed, plant)
        found += sum(len(feed(monitor, stream, DAY)) for _ in range(days))
    return found


def find(change: Change, horizon: int, seeds: Iterable[int], changes_each: int, plant: Plant | None = None) -> Found:
    """Delays of a change that comes within the day after the reference; several of them on each reference."""
    delays, errors, named = [], [], []
    for seed in seeds:
        for each in range(changes_each):
            stream, monitor = referenced(seed, plant)
            stream.rng = np.random.default_rng([seed, each])
            feed(monitor, stream, int(stream.rng.integers(1, DAY)))
            signal, delay, error = _first(monitor, stream, change, horizon)
            delays.append(delay)
            errors.append(error)
            named.append(signal.channels if signal else ())
    return Found(np.array(delays), np.array(errors), tuple(named))


def _first(
    monitor: DriftMonitor, stream: Stream, change: Change, horizon: int
) -> tuple[DriftSignal | None, float, float]:
    began = stream.at
    for done in range(0, horizon, _PIECE):

        def later(moved: dict[str, Floats], number: Floats, done: int = done) -> None:
            change(moved, number + done)

        if signals := feed(monitor, stream, min(_PIECE, horizon - done), later):
            return signals[0], signals[0].raised_at - began + 1, abs(signals[0].onset - began)
    return None, float("inf"), float("nan")


def changeovers(seeds: Iterable[int], times: int, hours: int = 12) -> int:
    """How many changeovers to a product never seen raise something within so many hours: other level, other scatter."""
    found = 0
    for seed in seeds:
        for each in range(times):
            stream, monitor = referenced(seed)
            stream.rng = rng = np.random.default_rng([seed, each])
            feed(monitor, stream, int(rng.integers(1, DAY)))
            level = {name: value * float(rng.uniform(0.6, 1.6)) for name, value in stream.plant.level.items()}
            scatter = {name: value * float(rng.uniform(0.7, 1.4)) for name, value in stream.plant.scatter.items()}
            first = stream.plant
            stream.plant = replace(stream.plant, level=level, scatter=scatter)
            signals = feed(monitor, stream, hours * 3_600 // 2, product="never seen")
            stream.plant = first
            signals += feed(monitor, stream, hours * 3_600 // 2)
            found += bool(signals)
    return found


def more_defects(seeds: Iterable[int], times: int, factor: float = 2.0, days: int = 2) -> int:
    """How many stations, whose share of defective parts is multiplied, are said to have drifted."""
    found = 0
    for seed in seeds:
        for each in range(times):
            stream, monitor = referenced(seed)
            stream.rng = np.random.default_rng([seed, each])
            stream.plant = replace(stream.plant, defects=factor * stream.plant.defects)
            found += bool(feed(monitor, stream, days * DAY))
    return found
