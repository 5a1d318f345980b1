# SPDX-License-Identifier: Apache-2.0
"""Where channels stand now: right in size, quiet on a quiet station, and asking changes nothing."""

import io

import numpy as np
import pytest

from benchmarks import _drift_runs as runs
from benchmarks import _drift_streams as streams
from central.quality.cause import rise_share_seen
from central.quality.drift import CHANNELS, DriftMonitor

SEEDS = (11, 12)


def test_asking_changes_neither_the_state_nor_what_comes() -> None:
    stream, monitor = runs.referenced(11)
    asked = DriftMonitor.from_bytes(monitor.to_bytes())
    signals = []
    for piece in range(20):
        at, channels = stream.parts(200, streams.light(-0.05) if piece >= 10 else None)
        product = np.where(np.arange(200) // 30 % 2, "p", "q")
        signals.append(monitor.update_many(at, product, channels))
        assert asked.update_many(at, product, channels) == signals[-1]
        asked.standing(float(at[0]) - 3600)
        assert asked.to_bytes() == monitor.to_bytes()
    assert any(signals)


@pytest.mark.parametrize("plant", [streams.Plant(), streams.Plant(day=0.1)], ids=["usual day", "strong day"])
def test_quiet_station_stands_within_three_errors_of_its_reference(plant: streams.Plant) -> None:
    """Of 1,000 looks 5 beyond three, none beyond five: three is where a cause begins to count a shift at all."""
    away = []
    for seed in SEEDS:
        stream, monitor = runs.referenced(seed, plant)
        for _ in range(30):
            runs.feed(monitor, stream, 9_000)
            for back_s in (400, 3_600, 20_000):
                (channels,) = monitor.standing(stream.at - back_s).values()
                away += [channel.size / channel.error for channel in channels.values()]
    away_by = np.abs(away)
    assert len(away_by) == 2 * 30 * 3 * len(CHANNELS)
    assert np.mean(away_by > 3) <= 0.005
    assert away_by.max() < 5


@pytest.mark.parametrize("seed", SEEDS)
def test_step_of_the_light_shows_in_size_and_at_once(seed: int) -> None:
    stream, monitor = runs.referenced(seed)
    runs.feed(monitor, stream, 3_000)
    since = stream.at
    runs.feed(monitor, stream, 1_200, streams.light(-0.05))
    channels = monitor.standing(since)["p"]
    lit = channels["brightness"]
    assert lit.size / lit.usual == pytest.approx(-0.05, abs=0.015)
    assert abs(lit.size) > 6 * lit.error
    share = rise_share_seen(lit.courses, 0.0)
    assert share is not None
    assert share < 0.15
    assert abs(channels["colour"].size) < 3 * channels["colour"].error


@pytest.mark.parametrize("seed", SEEDS)
def test_fouling_lens_shows_in_blur_and_slowly(seed: int) -> None:
    stream, monitor = runs.referenced(seed)
    since = stream.at
    runs.feed(monitor, stream, 40_000, streams.fouling())
    blur = monitor.standing(since)["p"]["blur"]
    assert blur.size < -6 * blur.error
    share = rise_share_seen(blur.courses, 0.0)
    assert share is not None
    assert share > 0.35


def test_each_product_stands_for_itself_and_one_with_few_parts_is_not_told() -> None:
    stream, monitor = streams.Stream(3), DriftMonitor(reference_days=1)
    at, channels = stream.parts(90_000)
    monitor.update_many(at, np.where(np.arange(90_000) // 600 % 2, "p", "q"), channels)
    assert monitor.reference.is_ready
    since = stream.at
    for product, change in (("p", streams.light(-0.06)), ("q", None), ("p", streams.light(-0.06)), ("q", None)):
        runs.feed(monitor, stream, 600, change, product)
    stood = monitor.standing(since)
    dark, usual = stood["p"]["brightness"], stood["q"]["brightness"]
    assert dark.size < -6 * dark.error
    assert abs(usual.size) < 3 * usual.error
    later = stream.at
    runs.feed(monitor, stream, 600, None, "p")
    runs.feed(monitor, stream, 210, None, "q")
    assert set(monitor.standing(later)) == {"p"}


def test_nothing_is_told_before_the_reference_is_ready() -> None:
    stream, monitor = streams.Stream(3), DriftMonitor(reference_days=1)
    runs.feed(monitor, stream, 6_000)
    assert monitor.standing(0.0) == {}


def test_bytes_of_a_monitor_that_kept_no_products_still_go_on() -> None:
    stream, monitor = runs.referenced(11)
    runs.feed(monitor, stream, 3_000)
    with np.load(io.BytesIO(monitor.to_bytes())) as loaded:
        held = {name: loaded[name] for name in loaded.files if name != "recent_code"}
    out = io.BytesIO()
    np.savez(out, **held)
    older = DriftMonitor.from_bytes(out.getvalue())
    assert older.reference.is_ready
    assert older.standing(0.0) == {}
    runs.feed(older, stream, 600)
    assert set(older.standing(0.0)) == {"p"}
