# SPDX-License-Identifier: Apache-2.0
"""Scripted incidents: what is known of them is what is played, and the cause is found from pictures alone."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.incidents import half, is_right
from central.quality.cause import Cause, Remedy, rank_causes
from plant.incidents.observing import observe
from plant.incidents.play import Record, play
from plant.incidents.script import STATIONS, Length, draw_incident
from plant.parts.catalogue import PRODUCTS

# A line of its own: not among those on which the rules were developed or are reported.
SEED = 301
SHORT = Length(reference=1500, watch=1200, day=500)


@pytest.fixture(name="quiet", scope="module")
def _quiet() -> Record:
    return play(draw_incident(None, 0, SEED, SHORT))


def test_the_same_arguments_give_the_same_incident() -> None:
    for cause in Cause:
        assert draw_incident(cause, 3, SEED, SHORT) == draw_incident(cause, 3, SEED, SHORT)
        assert draw_incident(cause, 3, SEED, SHORT) != draw_incident(cause, 4, SEED, SHORT)


def test_every_cause_has_incidents_of_either_place() -> None:
    places = Counter(
        (cause, (incident.station is None, incident.product is None))
        for cause in Cause
        for number in range(6)
        for incident in [draw_incident(cause, number, SEED, SHORT)]
    )
    at_station = {Cause.CAMERA_OR_LAMP, Cause.LENS_FOULING, Cause.CAMERA_MOVED, Cause.WANTED_CHANGE}
    assert places == {(cause, (cause not in at_station, cause in at_station)): 6 for cause in Cause}


def test_a_smaller_incident_goes_off_less_and_begins_as_before() -> None:
    whole, small = (draw_incident(Cause.CAMERA_OR_LAMP, 0, SEED, SHORT, size=size).scenario for size in (1.0, 0.5))
    told = [next(step for step in each.steps if step.light is not None) for each in (whole, small)]
    assert told[1].light == pytest.approx(0.5 * (told[0].light or 0))
    assert told[1].part == told[0].part


def test_all_stations_make_all_products_in_turn(quiet: Record) -> None:
    assert len(quiet.part) == SHORT.reference + SHORT.watch
    parts = Counter(zip(quiet.station.tolist(), quiet.product.tolist(), strict=True))
    assert set(parts) == {(s, p) for s in range(len(STATIONS)) for p in range(len(PRODUCTS))}
    assert min(parts.values()) >= 0.4 * len(quiet.part) / len(STATIONS)


@pytest.mark.parametrize("cause", [Cause.CAMERA_OR_LAMP, Cause.MATERIAL_BATCH, Cause.PROCESS_WORSE])
def test_only_parts_that_the_incident_touches_differ(quiet: Record, cause: Cause) -> None:
    """And those that do not are taken over exactly: playing them anew would give the same row."""
    incident = draw_incident(cause, 0, SEED, SHORT)
    played = play(incident)
    differs = np.any(played.values != quiet.values, axis=1)
    begins = next(step.part for step in incident.scenario.steps if step.changeover is None)
    assert differs.any()
    assert played.part[differs].min() >= begins
    if incident.station is not None:
        assert {STATIONS[each] for each in played.station[differs]} == {incident.station}
    else:
        assert {PRODUCTS[each] for each in played.product[differs]} == {incident.product}


def test_a_package_changes_verdicts_and_scores_of_its_product_and_no_picture(quiet: Record) -> None:
    for number in range(9):
        incident = draw_incident(Cause.MODEL_WRONG, number, SEED, SHORT)
        if incident.package is not None:
            break
    assert incident.package is not None
    played = play(incident)
    assert np.array_equal(played.values, quiet.values)
    changed = played.score != quiet.score
    assert changed.any()
    assert {PRODUCTS[each] for each in played.product[changed]} == {incident.package.product}
    assert played.part[changed].min() >= incident.package.at_part


def test_an_observation_knows_nothing_of_the_true_cause(quiet: Record) -> None:
    incident = draw_incident(None, 0, SEED, SHORT)
    mistold = replace(incident, cause=Cause.LENS_FOULING, station="st-1")
    assert observe(incident, quiet) == observe(mistold, quiet)


@pytest.mark.parametrize("cause", [Cause.CAMERA_OR_LAMP, Cause.CAMERA_MOVED, Cause.MATERIAL_BATCH])
def test_the_cause_is_found_from_pictures_alone(cause: Cause) -> None:
    """Half as large again as those of the benchmark, since the line is half as long."""
    incident = draw_incident(cause, 1, SEED, SHORT, size=1.5)
    ranked = rank_causes(observe(incident, play(incident)))
    assert ranked
    assert any(is_right(incident, each) for each in ranked[:2]), ranked
    assert ranked[0].remedy is not Remedy.RETRAIN


@pytest.mark.slow
def test_nine_in_ten_incidents_of_a_line_of_its_own_are_right_or_second() -> None:
    """Sixteen incidents; the forty-eight of each half are in `python -m benchmarks incidents`."""
    figures = half((SEED,), 1.0)
    assert figures["incidents"] == 16
    assert figures["right_or_second"] >= 14
    assert figures["quiet"]["named"] == []
