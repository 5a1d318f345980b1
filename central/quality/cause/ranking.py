# SPDX-License-Identifier: Apache-2.0
"""Ranks what may be behind an observation. Rules, not a trained classifier: each can be read, and argued with.

A cause has a scope (a station, a product) and a pattern. Its score is the product of the degrees to which the scope
fits (this one moved, the others did not), the pattern fits, and nothing speaks against it; 0 … 1, no probability. Rules
were preferred to a fitted classifier because plants differ more than any set of incidents one could fit to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from central.quality.cause import words
from central.quality.cause.evidence import (
    between,
    escapes_beyond_rejects,
    has_risen,
    interval_rise,
    mean,
)
from central.quality.cause.observation import Cause, Change, ChangeKind, Observation, ProductSeen, Remedy
from central.quality.cause.scene import Scene

# Below this a cause is not named: better none than one out of noise.
_LEAST_SCORE: Final = 0.12
# So many judged defective pictures of a new kind are worth a training; fewer call for more audits first.
LABELS_TO_LEARN_FROM: Final = 20
_SCORE_SHARE_LOW, _SCORE_SHARE_HIGH = 0.5, 0.75


@dataclass(frozen=True)
class RankedCause:
    """One cause with where it lies, how well it fits, what speaks for it, and what to do."""

    cause: Cause
    score: float
    evidence: tuple[str, ...]
    remedy: Remedy
    station: str | None = None
    product: str | None = None


def rank_causes(observation: Observation) -> list[RankedCause]:
    """Causes that fit, the likeliest first. Empty: nothing that was seen points to any of them.

    The same observation gives the same list, in whatever order its entries come. Assumes one thing at a time: of two
    incidents that overlap the clearer one is named first and the other may be missed.
    """
    scene = Scene(observation)
    found = [ranked for ranked in _candidates(scene) if ranked.score >= _LEAST_SCORE]
    order = list(Cause)
    return sorted(found, key=lambda r: (-r.score, order.index(r.cause), r.station or "", r.product or ""))


def _candidates(scene: Scene) -> Iterator[RankedCause]:
    wanted = list(_wanted(scene))
    # What people changed on purpose needs no other cause.
    unexplained = 1.0 - 0.7 * max((each.score for each in wanted), default=0.0)
    yield from wanted
    for station in scene.stations:
        yield from _of_station(scene, station, unexplained)
    yield from _of_all_stations(scene, unexplained)
    for product in scene.products:
        yield from _of_product(scene, product, unexplained)


def _wanted(scene: Scene) -> Iterator[RankedCause]:
    for change in scene.observation.changes:
        if change.kind is ChangeKind.RECIPE:
            yield RankedCause(
                Cause.WANTED_CHANGE,
                _rounded(scene.explained(change)),
                words.change_made(change),
                Remedy.NEW_REFERENCE,
                change.station,
                change.product,
            )


def _of_station(scene: Scene, station: str, unexplained: float) -> Iterator[RankedCause]:
    pictures = [each.picture for each in scene.at(station) if each.stream.shifts]
    in_picture, in_any = scene.only_at(station, image=True), scene.only_at(station, image=False)
    light, unsharp = mean(p.light_share for p in pictures), mean(p.unsharp_share for p in pictures)
    slow = mean(p.slow for p in pictures)
    # A picture that is merely elsewhere keeps its light and its edges: the score moves, and by far the most.
    beyond = mean(
        between(p.score_z / (p.score_z + p.image_z), _SCORE_SHARE_LOW, _SCORE_SHARE_HIGH)
        for p in pictures
        if p.score_z > 0
    )
    moved = max(beyond * (1.0 - 0.7 * slow), unsharp * (1.0 - slow))
    degrees = {
        Cause.CAMERA_OR_LAMP: (in_picture * light * (1.0 - 0.6 * moved), Remedy.RE_LIGHT),
        Cause.LENS_FOULING: (in_picture * unsharp * (0.25 + 0.75 * slow), Remedy.CLEAN),
        Cause.CAMERA_MOVED: (in_any * moved, Remedy.RE_AIM),
    }
    for cause, (score, remedy) in degrees.items():
        evidence = words.of_station(scene, station)
        yield RankedCause(cause, _rounded(score * unexplained), evidence, remedy, station=station)


def _of_all_stations(scene: Scene, unexplained: float) -> Iterator[RankedCause]:
    """Daylight, a supply voltage: what all stations share."""
    light = mean(each.picture.light_share for each in scene.watched)
    score = _rounded(scene.everywhere() * light * unexplained)
    yield RankedCause(Cause.CAMERA_OR_LAMP, score, words.of_all(scene), Remedy.RE_LIGHT)


def _of_product(scene: Scene, product: str, unexplained: float) -> Iterator[RankedCause]:
    seen = scene.seen(product)
    moved = scene.inputs_moved(product)
    unusual = scene.more_unusual(product)
    rejects_before, rejects_since = scene.rejects(product)
    more_rejects = scene.more_rejects(product)
    new_class = overkill = beyond = 0.0
    if seen is not None:
        new_class = between(sum(seen.new_classes.values()), 0.5, 3.5)
        overkill = interval_rise(seen.before.overkill, seen.since.overkill) * max(more_rejects, 0.3)
        beyond = escapes_beyond_rejects(seen.before, seen.since, rejects_before, rejects_since)
    new_kind = 1.0 - (1.0 - 0.7 * unusual) * (1.0 - 0.9 * new_class)
    package = scene.package_change(product)
    # A package that suddenly rejects hardly anything may have gone blind; without one the process may be better.
    blind = has_risen(rejects_since, rejects_before) if package is not None else 0.0
    wrong = max(beyond, overkill, 0.8 * blind)
    evidence = words.of_product(scene, product)
    yield RankedCause(
        Cause.MATERIAL_BATCH,
        _rounded(scene.only_of(product) * (1.0 - 0.5 * new_class) * unexplained),
        evidence,
        Remedy.HOLD_BATCH,
        product=product,
    )
    yield RankedCause(
        Cause.NEW_DEFECT_KIND,
        _rounded(new_kind * (1.0 - 0.8 * scene.only_of(product)) * (1.0 - 0.4 * moved)),
        evidence,
        _remedy_of_new_kind(seen),
        product=product,
    )
    yield RankedCause(
        Cause.PROCESS_WORSE,
        _rounded(more_rejects * (1.0 - 0.8 * wrong) * (1.0 - 0.7 * new_kind) * (1.0 - 0.6 * moved)),
        evidence,
        Remedy.MEND_PROCESS,
        product=product,
    )
    yield RankedCause(
        Cause.MODEL_WRONG,
        _rounded(wrong * (1.0 - 0.9 * moved) * (1.0 - 0.7 * new_kind)),
        evidence + words.package(package),
        Remedy.ROLL_BACK if package is not None else Remedy.RETRAIN,
        product=product,
    )


def _remedy_of_new_kind(seen: ProductSeen | None) -> Remedy:
    """A training cannot learn a kind of which nobody has judged enough parts."""
    return Remedy.RETRAIN if seen is not None and seen.defective_labels >= LABELS_TO_LEARN_FROM else Remedy.AUDIT_MORE


def _rounded(score: float) -> float:
    """To four digits, so that the last bit of a sum never decides an order."""
    return round(score, 4)


__all__ = ["LABELS_TO_LEARN_FROM", "Change", "RankedCause", "rank_causes"]
