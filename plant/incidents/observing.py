# SPDX-License-Identifier: Apache-2.0
"""What monitors and people would have seen of a played incident: the input of `rank_causes`.

Sees only what a plant sees: measures, scores, verdicts, audits of parts drawn by chance, the record of packages and
recipes. The true kinds reach it through simulated audits alone. The detector of shifts is passed in, so that another
monitor can take its place; `harmonic_shifts` is a plain one: block means against a reference with its day taken out.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central.quality.cause import (
    Audited,
    Change,
    ChangeKind,
    Counts,
    Observation,
    ProductSeen,
    Shift,
    StreamSeen,
    rise_share,
)
from central.quality.rates import binomial_interval, escape_interval
from plant.incidents.play import MEASURES, Record
from plant.incidents.script import STATIONS, Incident
from plant.parts.catalogue import PRODUCTS

Floats = NDArray[np.float64]
BLOCK: Final = 20
_AUDITS: Final = 400
_INSPECTOR_ERRS: Final = 0.01
_REVIEWED: Final = 150
# The interval is to be that of the process, so the parts it stands for have no end.
_PROCESS_PARTS: Final = 10**9
# Times the deviation of the largest CUSUM excursion of pure noise that an onset must reach.
_ONSET_LEAST: Final = 1.7
# Real streams wander more than blocks of one reference show: known from the reference alone, hence a factor.
_WANDER: Final = 1.5


@dataclass(frozen=True)
class StreamValues:
    """One station × product in order. part: number on the line; channels: float [n] each, score as ln(score)."""

    part: NDArray[np.int64]
    channels: Mapping[str, Floats]


@dataclass(frozen=True)
class Course:
    """One channel in blocks: part numbers, and how far from the reference in its own unit, the day taken out."""

    part: Floats
    away: Floats
    usual: float
    deviation: float


# Part number at which the watch begins, length of a day in parts, and a stream; gives each channel's course.
Detector = Callable[[StreamValues, int, int], Mapping[str, Course]]


def harmonic_shifts(stream: StreamValues, watch_from: int, day: int) -> Mapping[str, Course]:
    """Block means minus two harmonics of the day, fitted on the blocks before the watch."""
    courses = {}
    whole = len(stream.part) // BLOCK * BLOCK
    part = stream.part[:whole].reshape(-1, BLOCK).mean(axis=1)
    is_before = part < watch_from
    phase = 2 * np.pi * part / day
    design = np.stack([np.ones_like(phase), *(f(k * phase) for k in (1, 2) for f in (np.sin, np.cos))], axis=1)
    for channel, values in stream.channels.items():
        blocks = values[:whole].reshape(-1, BLOCK).mean(axis=1)
        weights = np.linalg.lstsq(design[is_before], blocks[is_before], rcond=None)[0]
        away = blocks - design @ weights
        freedom = max(1, int(is_before.sum()) - design.shape[1])
        deviation = float(np.sqrt((away[is_before] ** 2).sum() / freedom))
        courses[channel] = Course(part, away, float(weights[0]), max(deviation, 1e-9))
    return courses


def observe(incident: Incident, record: Record, detector: Detector = harmonic_shifts) -> Observation:
    """All that is known at the end of the watch."""
    watch_from, day = incident.length.reference + 1, incident.length.day
    courses = {
        (station, product): detector(_values(record, _rows(record, station, product)), watch_from, day)
        for station in range(len(STATIONS))
        for product in range(len(PRODUCTS))
    }
    changes = _changes(incident)
    since = _onset(record, courses, changes, watch_from)
    rng = np.random.default_rng(zlib.crc32(incident.name.encode()))
    return Observation(
        since=float(since),
        until=float(record.part[-1]),
        streams=tuple(_stream(record, key, course, watch_from, since) for key, course in courses.items()),
        products=tuple(_labels(record, product, watch_from, since, rng) for product in range(len(PRODUCTS))),
        changes=changes,
    )


def _rows(record: Record, station: int, product: int) -> NDArray[np.bool_]:
    return np.asarray((record.station == station) & (record.product == product))


def _values(record: Record, rows: NDArray[np.bool_]) -> StreamValues:
    # Scores of accepted parts alone: a run of rejects is no shift of the score. Rejects keep their place with the last.
    score = np.log(np.maximum(record.score[rows], 1e-9))
    rejected = record.is_rejected[rows]
    last = np.maximum.accumulate(np.where(rejected, 0, np.arange(len(score))))
    channels = {name: record.values[rows, index] for index, name in enumerate(MEASURES)}
    return StreamValues(record.part[rows], {"score": score[last], **channels})


def _changes(incident: Incident) -> tuple[Change, ...]:
    if incident.package is not None:
        at, product = float(incident.package.at_part), incident.package.product
        return (Change(at, ChangeKind.PACKAGE, "new-package", product=product),)
    if incident.recipe_part is not None:
        return (Change(float(incident.recipe_part), ChangeKind.RECIPE, "version-2", station=incident.station),)
    return ()


def _onset(
    record: Record,
    courses: Mapping[tuple[int, int], Mapping[str, Course]],
    changes: tuple[Change, ...],
    watch_from: int,
) -> int:
    """Where the clearest series turned: the largest excursion of its cumulative sum (Page 1955; Pettitt 1979).

    Candidates are all channels of all streams, and rejects and unusual parts of each product. With nothing clear it is
    the last package or recipe change of the watch, else the beginning of the watch.
    """
    series: list[tuple[Floats, Floats]] = [
        (course.part, course.away / course.deviation) for each in courses.values() for course in each.values()
    ]
    for product in range(len(PRODUCTS)):
        rows = record.product == product
        series += [
            (record.part[rows].astype(float), (flags - flags.mean()) / max(float(flags.std()), 1e-9))
            for flags in (record.is_rejected[rows], record.is_unusual[rows])
        ]
    best, onset = _ONSET_LEAST, watch_from
    if changes:
        onset = int(changes[-1].at)
    for part, values in series:
        # The reference tells where zero is; an excursion that peaks inside it is no onset.
        sums = np.cumsum(values - values[part < watch_from].mean())
        slope = np.linspace(0, sums[-1], len(sums))
        height = np.abs(sums - slope) / np.sqrt(len(sums))
        peak = int(np.argmax(height))
        if height[peak] > best and part[peak] >= watch_from:
            best, onset = float(height[peak]), int(part[peak])
    return min(onset, int(record.part[-1]) - 10 * BLOCK)


def _stream(
    record: Record, key: tuple[int, int], courses: Mapping[str, Course], watch_from: int, since: int
) -> StreamSeen:
    rows = _rows(record, *key)
    before, later = rows & (record.part < watch_from), rows & (record.part >= since)
    shifts = {channel: _shift(course, watch_from, since) for channel, course in courses.items()}
    accepted = ~record.is_rejected
    return StreamSeen(
        station=STATIONS[key[0]],
        product=PRODUCTS[key[1]],
        shifts={channel: shift for channel, shift in shifts.items() if shift is not None},
        onset=float(since),
        rejects_before=_count(record.is_rejected, before),
        rejects_since=_count(record.is_rejected, later),
        unusual_before=_count(record.is_unusual, before & accepted),
        unusual_since=_count(record.is_unusual, later & accepted),
    )


def _shift(course: Course, watch_from: int, since: int) -> Shift | None:
    is_before, is_later = course.part < watch_from, course.part >= since
    if is_before.sum() < 8 or is_later.sum() < 4:
        return None
    # The second half: what comes slowly has come by then.
    recent = course.away[is_later][is_later.sum() // 2 :]
    error = _WANDER * course.deviation * float(np.sqrt(1 / len(recent) + 1 / is_before.sum()))
    watched = course.away[course.part >= watch_from] + course.usual
    return Shift(float(recent.mean()), course.usual, error, rise_share(watched, course.usual))


def _count(flags: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Counts:
    return Counts(int(np.count_nonzero(flags & rows)), int(np.count_nonzero(rows)))


def _labels(record: Record, product: int, watch_from: int, since: int, rng: np.random.Generator) -> ProductSeen:
    mine = record.product == product
    before, later = mine & (record.part < watch_from), mine & (record.part >= since)
    known, named_before = _judged(record, before, rng)
    found, named = _judged(record, later, rng)
    new = {kind: count for kind, count in named.items() if kind not in named_before}
    labels = sum(new.values()) or sum(named.values())
    return ProductSeen(PRODUCTS[product], known, found, new, labels)


def _judged(record: Record, rows: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Audited, dict[str, int]]:
    """Audits of accepted parts drawn by chance and reviews of rejected ones, by people who err now and then."""
    accepted, rejected = np.flatnonzero(rows & ~record.is_rejected), np.flatnonzero(rows & record.is_rejected)
    drawn = np.sort(rng.permutation(accepted)[:_AUDITS])
    reviewed = np.sort(rng.permutation(rejected)[:_REVIEWED])
    named: dict[str, int] = {}
    verdicts = []
    for sample in (drawn, reviewed):
        truth = record.kind[sample] != ""
        errs = rng.random(len(sample)) < _INSPECTOR_ERRS
        # A positive counts once a second person has said so too; a good part is called defective by both but rarely.
        second = rng.random(len(sample)) < _INSPECTOR_ERRS
        is_defective = np.where(truth, ~errs, errs & second)
        verdicts.append(is_defective)
        for kind in record.kind[sample[is_defective & truth]]:
            named[str(kind)] = named.get(str(kind), 0) + 1
    chance = np.full(len(drawn), max(len(drawn), 1) / max(len(accepted), 1))
    escapes = escape_interval(verdicts[0].astype(np.bool_), chance, _PROCESS_PARTS)
    overkill = binomial_interval(int((~verdicts[1]).sum()), len(reviewed))
    return Audited(escapes, overkill), named
