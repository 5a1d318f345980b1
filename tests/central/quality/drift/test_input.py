# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest

from benchmarks import _drift_runs as runs
from benchmarks import _drift_streams as streams
from central.quality.drift import CHANNELS, DriftMonitor

GOOD = {"score": 0.2, "brightness": 120.0, "contrast": 40.0, "blur": 300.0, "colour": -3.0}


@pytest.mark.parametrize(
    ("at", "product", "channels", "told"),
    [
        (9.0, "p", GOOD, "never go back"),
        (float("nan"), "p", GOOD, "finite at"),
        (11.0, "p", GOOD | {"blur": float("nan")}, "finite blur"),
        (11.0, "p", GOOD | {"score": float("inf")}, "finite score"),
        (11.0, "p", GOOD | {"score": 0.0}, "scores above 0"),
        (11.0, "p", GOOD | {"score": -1.0}, "scores above 0"),
        (11.0, "p", GOOD | {"gloss": 1.0}, "unknown gloss"),
        (11.0, "p", {name: GOOD[name] for name in CHANNELS[:4]}, "missing colour"),
        (11.0, "", GOOD, "non-empty"),
        (11.0, "p", GOOD | {"blur": "much"}, "numbers"),
    ],
)
def test_bad_part_is_refused_and_leaves_nothing_behind(at: float, product: str, channels: Any, told: str) -> None:
    monitor = DriftMonitor()
    monitor.update(10.0, "p", GOOD)
    before = monitor.to_bytes()
    with pytest.raises(ValueError, match=told):
        monitor.update(at, product, channels)
    # The second of two is bad: the first must not count either.
    with pytest.raises(ValueError, match=told):
        monitor.update_many(
            np.array([10.5, at]),
            ["p", product],
            {n: [GOOD.get(n, 1.0), v] for n, v in channels.items()},  # type: ignore[misc]
        )
    assert monitor.to_bytes() == before


@pytest.mark.parametrize(
    ("at", "product", "length", "told"),
    [
        (np.zeros(3), ["p"] * 3, 2, "3 values of"),
        (np.zeros(3), ["p"] * 2, 3, "3 products"),
        (np.zeros((3, 1)), ["p"] * 3, 3, "one dimension"),
        (np.zeros(3), "p", 3, "product for each part"),
        (np.zeros(3), [1, 2, 3], 3, "products as str"),
    ],
)
def test_wrong_shapes_are_refused(at: Any, product: Any, length: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DriftMonitor().update_many(at, product, {name: np.full(length, value) for name, value in GOOD.items()})


def test_no_parts_are_no_error() -> None:
    empty = np.zeros(0)
    assert DriftMonitor().update_many(empty, [], dict.fromkeys(CHANNELS, empty)) == []


@pytest.mark.parametrize(
    "arguments", [{"reference_days": 0.5}, {"reference_days": float("nan")}, {"reference_days": 31}]
)
def test_reference_too_short_for_a_day_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="1 to 30 days"):
        DriftMonitor(**arguments)
    with pytest.raises(ValueError, match="false alarms"):
        DriftMonitor(false_alarms_per_30_days=0)


def test_reference_with_too_few_parts_is_extended_and_says_so() -> None:
    monitor = DriftMonitor(reference_days=1)
    stream = streams.Stream(5)
    at, channels = stream.parts(30_000)
    slow = at[0] + 6 * (at - at[0])
    monitor.update_many(slow, np.full(len(at), "p"), channels)
    assert not monitor.reference.is_ready
    assert "being extended" in monitor.reference.notes[0]
    at, channels = stream.parts(14_000)
    monitor.update_many(slow[-1] + 6 * (at - at[0]), np.full(len(at), "p"), channels)
    assert monitor.reference.is_ready


def test_reference_with_a_step_in_it_says_so_and_begins_anew_at_the_step() -> None:
    monitor, stream = DriftMonitor(reference_days=2), streams.Stream(6)
    runs.feed(monitor, stream, 90_000)
    step_at = stream.at
    runs.feed(monitor, stream, 90_000, streams.light(-0.15))
    assert not monitor.reference.is_ready
    assert monitor.reference.notes[0].startswith("odd: brightness took a step")
    began = monitor.reference.began
    assert began is not None
    assert abs(began - step_at) <= 1_800
    assert runs.feed(monitor, stream, 85_000, streams.light(-0.15)) == []
    assert monitor.reference.is_ready


def test_channel_that_never_varies_is_not_watched_and_says_so() -> None:
    monitor, stream = DriftMonitor(reference_days=1), streams.Stream(7)
    at, channels = stream.parts(100_000)
    channels["colour"] = np.zeros(len(at))
    channels["colour"][90_000:] = 5.0
    assert monitor.update_many(at, np.full(len(at), "p"), channels) == []
    assert "odd: colour did not vary; it is not watched" in monitor.reference.notes
