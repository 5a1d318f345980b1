# SPDX-License-Identifier: Apache-2.0
"""A small part of what `python -m benchmarks quality_drift` runs in full; seeds are fixed."""

import numpy as np
import pytest

from benchmarks import _drift_runs as runs
from benchmarks import _drift_streams as streams
from central.quality.drift import DriftMonitor

SEEDS = (11, 12)
TIMES = 6


@pytest.mark.parametrize("plant", [streams.Plant(), streams.Plant(day=0.0)], ids=["day cycle", "none"])
def test_unchanged_station_raises_no_false_alarm_in_8_days(plant: streams.Plant) -> None:
    assert runs.false_alarms([21], 8, plant) == 0


@pytest.mark.slow
@pytest.mark.parametrize("plant", [streams.Plant(), streams.Plant(day=0.0)], ids=["day cycle", "none"])
def test_unchanged_station_raises_at_most_one_false_alarm_in_30_days(plant: streams.Plant) -> None:
    assert runs.false_alarms([31, 32], 30, plant) <= 2


def test_light_step_of_5_percent_is_found_within_120_parts_and_its_onset_within_60() -> None:
    found = runs.find(streams.light(-0.05), 2_000, SEEDS, TIMES)
    assert found.median <= 120
    assert found.p90 <= 200
    assert float(np.nanmedian(found.onset_error)) <= 60
    assert all(named[0] == "brightness" for named in found.channels)


def test_camera_bump_is_found_within_120_parts() -> None:
    found = runs.find(streams.bump, 2_000, SEEDS, TIMES)
    assert found.median <= 120
    assert found.p90 <= 200


def test_light_step_of_2_percent_is_found_within_5000_parts() -> None:
    found = runs.find(streams.light(-0.02), 40_000, SEEDS, TIMES)
    assert found.median <= 5_000
    assert found.p90 <= 15_000


def test_lens_fouling_over_200000_parts_is_found_within_12000() -> None:
    assert runs.find(streams.fouling(), 40_000, SEEDS, TIMES).p90 <= 12_000


def test_score_higher_by_half_a_deviation_is_found_within_12000_parts_and_always_within_two_days() -> None:
    found = runs.find(streams.score(0.5), 2 * streams.DAY, SEEDS, TIMES)
    assert found.median <= 12_000
    assert np.isfinite(found.delay).all()
    assert all(named[0] == "score" for named in found.channels)


def test_product_never_seen_raises_nothing_in_19_of_20_changeovers() -> None:
    assert runs.changeovers(SEEDS, 10) <= 1


def test_twice_the_defects_are_no_drift_in_18_of_20() -> None:
    assert runs.more_defects(SEEDS, 10, days=1) <= 2


def test_change_right_after_the_reference_is_found_as_fast() -> None:
    delays = []
    for seed in range(41, 44):
        stream, monitor = streams.Stream(seed), DriftMonitor(reference_days=1)
        runs.feed(monitor, stream, streams.DAY)
        assert monitor.reference.is_ready
        changed = stream.at
        (signal, *_) = runs.feed(monitor, stream, 500, streams.light(-0.06))
        delays.append(signal.raised_at - changed + 1)
    assert max(delays) <= 200
