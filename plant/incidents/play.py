# SPDX-License-Identifier: Apache-2.0
"""Plays an incident: renders each part, lets the camera see it, measures and judges it. Nothing is written by hand.

Pictures are measured by the station's own code (`edge_agent.vision.measures`) and judged by `judge.SmallDetector`.
Knows no cause; `observing` makes of the record what a monitor would see. Called by the benchmark `incidents`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.measures import measure
from plant.incidents.judge import SmallDetector
from plant.incidents.script import STATIONS, Incident, Length, NewPackage, draw_incident
from plant.line.feed import RenderedFeed
from plant.parts.catalogue import PRODUCTS
from plant.scenario import Scenario

MEASURES: Final = ("brightness", "contrast", "blur", "colour")
_SOUND_PARTS: Final = 600
# The fields of `Record`, of one part.
Row = tuple[int, int, int, float, bool, bool, tuple[float, ...], str]


@dataclass(frozen=True)
class Record:
    """Every part of a line in order. Arrays of one length; strings index `STATIONS` and `PRODUCTS`.

    part: number on the line. score as the package in force gave it. values: float [n, 4] by `MEASURES`. kind: the true
    defect class, "" for a sound part.
    """

    part: NDArray[np.int64]
    station: NDArray[np.int64]
    product: NDArray[np.int64]
    score: NDArray[np.float64]
    is_rejected: NDArray[np.bool_]
    is_unusual: NDArray[np.bool_]
    values: NDArray[np.float64]
    kind: NDArray[np.str_]


def play(incident: Incident) -> Record:
    """The whole line, from the first part of the reference to the last of the watch.

    A part that looks just as it does when nothing happens is taken from the line in order; only others are made.
    """
    length, seed = incident.length, incident.scenario.seed
    quiet, detectors = _line_in_order(seed, length)
    usual, told = _feeds(draw_incident(None, 0, seed, length).scenario), _feeds(incident.scenario)
    rows = {}
    for number in range(length.reference + 1, length.reference + length.watch + 1):
        station, trigger = _place(number)
        if told[station].shown(trigger) != usual[station].shown(trigger):
            rows[number - 1] = _row(told[station], number, detectors)
    return _judged_by(incident.package, _with(quiet, rows), detectors)


@lru_cache(maxsize=2)
def _line_in_order(seed: int, length: Length) -> tuple[Record, tuple[SmallDetector, ...]]:
    """What is the same for all incidents of a line: its parts when nothing happens, and its detectors."""
    quiet = draw_incident(None, 0, seed, length)
    detectors = tuple(SmallDetector.fit(_sound(quiet.scenario, product)) for product in PRODUCTS)
    feeds = _feeds(quiet.scenario)
    rows = [
        _row(feeds[_place(number)[0]], number, detectors) for number in range(1, length.reference + length.watch + 1)
    ]
    return Record(*(np.array(column) for column in zip(*rows, strict=True))), detectors


def _feeds(scenario: Scenario) -> list[RenderedFeed]:
    return [RenderedFeed(scenario, name) for name in STATIONS]


def _place(number: int) -> tuple[int, int]:
    """Station and trigger number of a part: the stations take turns."""
    return (number - 1) % len(STATIONS), (number - 1) // len(STATIONS) + 1


def _sound(scenario: Scenario, product: str) -> list[NDArray[np.uint8]]:
    each = _SOUND_PARTS // len(STATIONS)
    return [part.pixels for feed in _feeds(scenario) for part in feed.commissioning(product, each)]


def _row(feed: RenderedFeed, number: int, detectors: tuple[SmallDetector, ...]) -> Row:
    station, trigger = _place(number)
    seen = feed.part(trigger, "A", 0)
    product = PRODUCTS.index(seen.product)
    detector = detectors[product]
    score, distance = detector.judge(seen.pixels)
    measured = measure(seen.pixels)
    values = (measured.brightness, measured.contrast, measured.blur, measured.colour)
    is_unusual = distance > detector.unusual_limit
    return number, station, product, score, score > detector.limit, is_unusual, values, seen.defect_class or ""


def _with(quiet: Record, rows: dict[int, Row]) -> Record:
    columns = [getattr(quiet, name).copy() for name in Record.__dataclass_fields__]
    columns[-1] = columns[-1].astype("<U32")
    for index, row in rows.items():
        for column, value in zip(columns, row, strict=True):
            column[index] = value
    return Record(*columns)


def _judged_by(package: NewPackage | None, record: Record, detectors: tuple[SmallDetector, ...]) -> Record:
    """The same parts, with those since its coming judged by another package."""
    if package is None:
        return record
    product = PRODUCTS.index(package.product)
    is_its = (record.part >= package.at_part) & (record.product == product)
    rejected = record.score > detectors[product].limit * package.limit
    return replace(
        record,
        score=np.where(is_its, record.score * package.scale, record.score),
        is_rejected=np.where(is_its, rejected, record.is_rejected),
    )
