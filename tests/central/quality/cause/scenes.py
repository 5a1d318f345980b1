# SPDX-License-Identifier: Apache-2.0
"""Observations of a line of three stations and two products, made of what moved in it."""

from collections.abc import Mapping

from central.quality.cause import Audited, Change, Counts, Observation, ProductSeen, Shift, StreamSeen
from central.quality.rates import Interval, binomial_interval

STATIONS = ("st-1", "st-2", "st-3")
PRODUCTS = ("ring", "board")
USUAL = {"score": 1.0, "brightness": 100.0, "contrast": 40.0, "blur": 300.0, "colour": 5.0}
ERROR = {"score": 0.01, "brightness": 0.2, "contrast": 0.1, "blur": 2.0, "colour": 0.1}
QUIET = Audited(binomial_interval(2, 400), binomial_interval(4, 80))


def shifts(rise_share: float = 0.0, **sizes: float) -> dict[str, Shift]:
    """All channels; those that are named have moved by so much."""
    return {name: Shift(sizes.get(name, 0.0), USUAL[name], ERROR[name], rise_share) for name in USUAL}


def line(
    moved: Mapping[tuple[str, str], dict[str, Shift]] | None = None,
    products: tuple[ProductSeen, ...] | None = None,
    changes: tuple[Change, ...] = (),
    **since: Mapping[str, Counts],
) -> Observation:
    """Everything in order but the streams in `moved`; `rejects` and `unusual` by product since the onset."""
    streams = [
        StreamSeen(
            station,
            product,
            (moved or {}).get((station, product), shifts()),
            rejects_before=Counts(12, 1000),
            rejects_since=since.get("rejects", {}).get(product, Counts(12, 1000)),
            unusual_before=Counts(10, 1000),
            unusual_since=since.get("unusual", {}).get(product, Counts(10, 1000)),
        )
        for station in STATIONS
        for product in PRODUCTS
    ]
    known = products or tuple(ProductSeen(product, QUIET, QUIET) for product in PRODUCTS)
    return Observation(0.0, 3600.0, tuple(streams), known, changes)


def at_station(station: str, moved: dict[str, Shift]) -> dict[tuple[str, str], dict[str, Shift]]:
    """Both products at one station."""
    return {(station, product): moved for product in PRODUCTS}


def of_product(product: str, moved: dict[str, Shift]) -> dict[tuple[str, str], dict[str, Shift]]:
    """One product at all stations."""
    return {(station, product): moved for station in STATIONS}


def labels(product: str, since: Audited, labels: int = 0, **new_classes: int) -> tuple[ProductSeen, ...]:
    """People found this of one product, and nothing new of the other."""
    found = ProductSeen(product, QUIET, since, new_classes, labels)
    return tuple(found if each == product else ProductSeen(each, QUIET, QUIET) for each in PRODUCTS)


def escapes(count: int, of: int) -> Audited:
    """So many of the audited accepted parts were defective; rejects as usual."""
    return Audited(binomial_interval(count, of), QUIET.overkill)


def overkill(count: int, of: int) -> Audited:
    """So many of the reviewed rejects were good; audits as usual."""
    return Audited(QUIET.escapes, binomial_interval(count, of))


def unknown() -> Audited:
    """Nobody has judged anything."""
    return Audited(Interval(0.0, None, 1.0), Interval(0.0, None, 1.0))
