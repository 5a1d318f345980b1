# SPDX-License-Identifier: Apache-2.0
import io
import itertools
from typing import Any

import numpy as np
import pytest

from benchmarks import _novelty_runs as runs
from central.quality import directions
from central.quality.novelty import NoveltyMonitor, NoveltySignal


def test_new_defect_kind_of_half_a_percent_is_found_within_10000_parts() -> None:
    delay = runs.delays([1, 2], 6, 16, 5.0)
    assert float(np.median(delay)) <= 10_000
    assert float(np.quantile(delay, 0.9, method="higher")) <= 18_000


def test_nothing_new_raises_nothing_in_300000_parts() -> None:
    assert runs.false_alarms([1], 300_000, 16) == 0


def test_signal_says_when_it_began_and_how_often_it_is() -> None:
    stream, monitor = runs.referenced(1, 16)
    began = stream.at
    (signal, *more) = monitor.update_many(*stream.parts(60_000, 0.01, 8.0))
    assert more == []  # Lasting is not raised again.
    assert abs(signal.onset - began) <= 3_000
    assert 2 * signal.usual_rate < signal.rate < 0.02
    assert 250 <= signal.parts <= 20_000
    # Of 200,000: the first ones teach the shape, and where a direction is sought more of them. They tell no share.
    assert signal.parts_before == (80_000 if signal.is_crowded else 120_000)
    assert monitor.update_many(*stream.parts(40_000)) == []
    # It was gone, and is back: how many there are and how they crowd may each say so.
    assert 1 <= len(monitor.update_many(*stream.parts(20_000, 0.01, 8.0))) <= 2


def test_rejected_parts_do_not_count() -> None:
    stream, monitor = runs.referenced(1, 16)
    at, points, _ = stream.parts(30_000, 0.01, 8.0)
    is_new = points @ np.linalg.inv(stream.mix) @ np.ones(16) / 4 > 4.5
    assert monitor.update_many(at, points, ~is_new) == []


def test_direction_of_a_crowd_is_found_among_parts_that_point_anywhere() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((200, 32))
    points[:40, 0] += 5
    axis = directions.direction(directions.add(np.zeros((0, 32)), points))
    assert axis[0] > 0.9
    assert directions.limits(rng.standard_normal((20_000, 32)), axis) == pytest.approx([2.75, 3.09], abs=0.25)


def played(cuts: list[int], is_restarted: bool) -> tuple[list[NoveltySignal], bytes]:
    stream, monitor = runs.Embeddings(4, 6), NoveltyMonitor(reference_parts=40_000)
    pieces = [stream.parts(45_000), stream.parts(15_000, 0.01, 8.0)]
    at, points, passed = (np.concatenate([piece[each] for piece in pieces]) for each in range(3))
    signals: list[NoveltySignal] = []
    for first, last in itertools.pairwise([0, *cuts, len(at)]):
        signals += monitor.update_many(at[first:last], points[first:last], passed[first:last])
        if is_restarted:
            monitor = NoveltyMonitor.from_bytes(monitor.to_bytes())
    return signals, monitor.to_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_restart_anywhere_changes_no_signal_and_no_bit(seed: int) -> None:
    whole = played([], is_restarted=False)
    assert whole[0]
    cuts = sorted({1, *np.random.default_rng(seed).integers(1, 60_000, 8).tolist()})
    assert played(cuts, is_restarted=True) == whole


GOOD = (np.array([5.0, 6.0]), np.ones((2, 3)), np.array([True, False]))


@pytest.mark.parametrize(
    ("row", "value", "told"),
    [
        (0, np.array([5.0, 4.0]), "never go back"),
        (0, np.array([1.0, 2.0]), "never go back"),
        (0, np.array([5.0, np.nan]), "finite"),
        (0, np.array([5.0]), r"\[n, d\]"),
        (1, np.array([[1.0, 2, 3], [np.inf, 1, 1]]), "finite"),
        (1, np.ones((2, 4)), "expected embeddings of 3 dimensions"),
        (1, np.ones(2), r"\[n, d\]"),
        (1, [["a"]], "numbers"),
        (2, np.array([1, 0]), "accepted as bool"),
        (2, np.array([True]), r"\[n, d\]"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing_behind(row: int, value: Any, told: str) -> None:
    monitor = NoveltyMonitor()
    monitor.update_many(np.array([4.0]), np.ones((1, 3)), np.array([True]))
    before = monitor.to_bytes()
    given: list[Any] = list(GOOD)
    given[row] = value
    with pytest.raises(ValueError, match=told):
        monitor.update_many(*given)
    assert monitor.to_bytes() == before


def test_reference_too_short_is_refused_or_said() -> None:
    with pytest.raises(ValueError, match="too short"):
        NoveltyMonitor(reference_parts=500)
    with pytest.raises(ValueError, match="too short"):
        NoveltyMonitor(reference_parts=20_000).update_many(np.zeros(1), np.ones((1, 900)), np.array([True]))
    monitor = NoveltyMonitor()
    monitor.update_many(*runs.Embeddings(1, 3).parts(1_000))
    assert monitor.notes[-1].startswith("too short so far")


def test_reference_in_which_unusual_parts_doubled_says_so() -> None:
    stream, monitor = runs.Embeddings(1, 8), NoveltyMonitor(reference_parts=50_000)
    monitor.update_many(*stream.parts(36_000))
    monitor.update_many(*stream.parts(16_000, 0.02, 9.0))
    assert monitor.is_ready
    assert monitor.notes[0].startswith("odd: unusual parts went from")


def test_bytes_of_others_are_refused() -> None:
    monitor = NoveltyMonitor()
    monitor.update_many(*GOOD)
    blob = monitor.to_bytes()
    with np.load(io.BytesIO(blob)) as loaded:
        held = {name: loaded[name] for name in loaded.files}
    out = io.BytesIO()
    np.savez(out, **(held | {"whiten": np.ones((2, 2))}))
    for bad in (b"", b"no", blob[:-9], out.getvalue()):
        with pytest.raises(ValueError, match="expected"):
            NoveltyMonitor.from_bytes(bad)
