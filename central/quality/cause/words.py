# SPDX-License-Identifier: Apache-2.0
"""Evidence in sentences, each with its figures. Decides nothing; called by `ranking`."""

from collections.abc import Mapping
from typing import Final

from central.quality.cause.evidence import Picture, interval_rise, rise_z
from central.quality.cause.observation import Cause, Change, Counts, Remedy
from central.quality.cause.scene import Scene, Watched
from central.quality.rates import Interval

_UNITS = {"score": "", "brightness": " grey levels", "contrast": " grey levels", "blur": "", "colour": " grey levels"}


CAUSE_WORDS: Final[Mapping[Cause, str]] = {
    Cause.CAMERA_OR_LAMP: "camera or lamp",
    Cause.LENS_FOULING: "dirty lens",
    Cause.CAMERA_MOVED: "camera moved or out of focus",
    Cause.MATERIAL_BATCH: "batch of material",
    Cause.NEW_DEFECT_KIND: "new kind of defect",
    Cause.PROCESS_WORSE: "process got worse",
    Cause.MODEL_WRONG: "model is wrong",
    Cause.WANTED_CHANGE: "changed on purpose",
}
REMEDY_WORDS: Final[Mapping[Remedy, str]] = {
    Remedy.RE_LIGHT: "look at lamp and exposure",
    Remedy.CLEAN: "clean the lens",
    Remedy.RE_AIM: "aim and focus the camera anew",
    Remedy.HOLD_BATCH: "hold the batch and look at it",
    Remedy.AUDIT_MORE: "judge more audits",
    Remedy.MEND_PROCESS: "mend the process",
    Remedy.ROLL_BACK: "roll the package back",
    Remedy.RETRAIN: "train anew",
    Remedy.NEW_REFERENCE: "nothing is broken; let the monitors learn anew",
}


def of_station(scene: Scene, station: str) -> tuple[str, ...]:
    """What this station shows, and whether others do."""
    inside = scene.at(station)
    others = scene.others(inside)
    return (*(_stream(each) for each in inside), _elsewhere("other stations", others))


def of_all(scene: Scene) -> tuple[str, ...]:
    """What all stations show."""
    return tuple(_stream(each) for each in scene.watched)


def of_product(scene: Scene, product: str) -> tuple[str, ...]:
    """What this product shows at all its stations, in rates and in labels."""
    inside = scene.of(product)
    others = scene.others(inside)
    said = [_stream(each) for each in inside]
    said.append(_elsewhere("other products", others))
    said.append(_rate("rejected", *scene.rejects(product)))
    said.append(_rate("unusual among accepted", *scene.unusual(product)))
    seen = scene.seen(product)
    if seen is not None:
        said.append(_estimate("escapes among accepted", seen.before.escapes, seen.since.escapes))
        said.append(_estimate("good among rejected", seen.before.overkill, seen.since.overkill))
        if seen.new_classes:
            named = ", ".join(f"{name} {count} times" for name, count in sorted(seen.new_classes.items()))
            said.append(f"Named by people for the first time: {named}.")
    return tuple(sentence for sentence in said if sentence)


def package(change: Change | None) -> tuple[str, ...]:
    """That it began with a package."""
    return () if change is None else (f"It began when package {change.name} was put in force.",)


def change_made(change: Change) -> tuple[str, ...]:
    """That people changed something when it began."""
    where = change.station or "all stations"
    what = change.product or "all products"
    return (f"{change.kind.value.capitalize()} {change.name} was put in force for {where}, {what}, when it began.",)


def _stream(watched: Watched) -> str:
    stream, picture = watched.stream, watched.picture
    name = f"{stream.station}, {stream.product}"
    moved = [
        f"{channel} {shift.size:+.3g}{_UNITS[channel]} from {shift.usual:.3g} ({abs(shift.size) / shift.error:.0f} "
        "standard errors)"
        for channel, shift in sorted(stream.shifts.items())
        if abs(shift.size) / shift.error > 3
    ]
    if not stream.shifts:
        return f"{name}: not known, too few parts."
    if not moved:
        return f"{name}: nothing moved."
    return f"{name}: {'; '.join(moved)}{_course(picture)}."


def _course(picture: Picture) -> str:
    if picture.slow == 0.5:
        return ""
    return ", slowly" if picture.slow > 0.5 else ", at once"


def _elsewhere(whom: str, others: list[Watched]) -> str:
    if not others:
        return f"There are no {whom} to compare with."
    moved = sum(each.picture.any >= 0.5 for each in others)
    return f"Of {len(others)} streams of {whom} {moved or 'none'} moved."


def _rate(what: str, before: Counts, since: Counts) -> str:
    if not before.of or not since.of:
        return ""
    return (
        f"{what.capitalize()}: {before.count} of {before.of} before, {since.count} of {since.of} since "
        f"({rise_z(before, since):+.1f} standard errors)."
    )


def _estimate(what: str, before: Interval, since: Interval) -> str:
    if since.estimate is None:
        return f"{what.capitalize()}: not known since."
    then = "not known" if before.estimate is None else f"{before.estimate:.2%} ({before.low:.2%} to {before.high:.2%})"
    risen = ", more than chance explains" if interval_rise(before, since) >= 0.5 else ""
    return (
        f"{what.capitalize()}: {then} before, {since.estimate:.2%} ({since.low:.2%} to {since.high:.2%}) since{risen}."
    )
