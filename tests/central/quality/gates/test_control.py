# SPDX-License-Identifier: Apache-2.0
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks._gate_runs import Process, control
from central.quality.gates import ControlGate, Decision
from central.quality.gates.control import _Ranks

RUNS = 2_000
PAST = {"st-1": [2, 1, 3, 2, 0] * 8, "st-2": [4, 5, 3, 6, 2] * 8}


def test_unchanged_process_with_more_scatter_than_binomial_is_aborted_in_at_most_5_percent() -> None:
    seen, unusable = control(Process(scatter=0.5, stations=2), RUNS, chunks=10)
    assert seen.aborted <= 0.05
    assert unusable <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    "process",
    [
        Process(share=0.1, past_chunks=200),
        Process(lot_scatter=1.0, past_chunks=200, stations=2),
        Process(share=0.1, scatter=0.3, lot_scatter=0.3, past_chunks=200, stations=2),
    ],
    ids=["binomial", "lots of 4 chunks", "lots and scatter"],
)
def test_unchanged_process_with_lots_is_aborted_in_at_most_5_percent(process: Process) -> None:
    seen, _ = control(process, RUNS, chunks=20)
    assert seen.aborted <= 0.05


def test_exact_binomial_limits_would_abort_the_same_unchanged_process_more_often() -> None:
    """What the ranks are for: limits that know only binomial scatter cry wolf where chunks scatter more."""
    rng = np.random.default_rng(14)
    process = Process(scatter=0.5, stations=1, past_chunks=200)
    aborted = 0
    for _ in range(300):
        counts = rng.binomial(100, process.draw(10, rng)[0])
        limit = stats.binom.ppf(1 - 0.05 / 10, 100, counts[:200].mean() / 100)
        aborted += bool((counts[200:] > limit).any())
    assert aborted / 300 > 0.15


@pytest.mark.parametrize(("factor", "within"), [(2.0, 15), (3.0, 8)])
def test_wave_that_rejects_more_than_its_own_past_is_aborted(factor: float, within: int) -> None:
    process = Process(scatter=0.3, past_chunks=200)
    seen, _ = control(process, 150, chunks=30, worse=lambda quantity, _: factor if quantity == "rejects" else 1.0)
    assert seen.aborted >= 0.95
    assert seen.median_abort <= within


def test_one_station_that_rejects_three_times_as_much_is_found_among_three() -> None:
    def worse(quantity: str, station: int) -> float:
        return 3.0 if (quantity, station) == ("rejects", 1) else 1.0

    seen, _ = control(Process(scatter=0.3, past_chunks=200), 150, chunks=40, worse=worse)
    assert seen.aborted >= 0.9


def test_package_that_stops_rejecting_is_aborted() -> None:
    process = Process(scatter=0.3, past_chunks=200)
    seen, _ = control(process, 150, chunks=20, worse=lambda quantity, _: 0.0 if quantity == "rejects" else 1.0)
    assert seen.aborted >= 0.95


def test_package_that_turns_bad_after_a_hundred_ordinary_chunks_is_found() -> None:
    rng = np.random.default_rng(16)
    process, waited = Process(scatter=0.3, stations=1, past_chunks=200), dict[int, list[float]]()
    for ordinary in (0, 100):
        waited[ordinary] = []
        for _ in range(40):
            shares = process.draw(ordinary + 60, rng)[0]
            shares[200 + ordinary :] *= 3.0
            counts = rng.binomial(100, np.minimum(shares, 1.0)).tolist()
            gate = ControlGate(0.05, {"st-1": counts[:200]}, 100)
            after = (at for at, count in enumerate(counts[200:]) if gate.update("st-1", count) is Decision.ABORT)
            waited[ordinary].append(next(after, math.inf) - ordinary + 1)
    assert np.median(waited[0]) <= 8
    assert np.median([each for each in waited[100] if each > 0]) <= 25
    assert np.isfinite(waited[100]).mean() >= 0.95


def test_bets_that_begin_at_any_time_are_still_fair() -> None:
    """A continuous process that never changes, looked at after each of 200 chunks: at most alpha, with 3 errors."""
    rng, runs, found = np.random.default_rng(17), 500, 0
    for _ in range(runs):
        values = rng.random(220)
        ranks = _Ranks(values[:20].tolist(), is_upper=True)
        highest = 0.0
        for value in values[20:].tolist():
            ranks.take(value)
            highest = max(highest, ranks.wealth)
        found += highest >= 20.0
    assert found / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_tolerated_factor_lets_a_package_reject_that_much_more() -> None:
    rng = np.random.default_rng(15)
    aborted = {1.0: 0, 2.0: 0}
    for _ in range(100):
        shares = Process(scatter=0.3, stations=1, past_chunks=200).draw(40, rng)[0]
        shares[200:] *= 2.0
        counts = rng.binomial(100, np.minimum(shares, 1.0)).tolist()
        for factor in aborted:
            gate = ControlGate(0.05, {"st-1": counts[:200]}, 100, tolerated_factor=factor)
            for count in counts[200:]:
                gate.update("st-1", count)
            aborted[factor] += gate.decision is Decision.ABORT
    assert aborted[1.0] >= 70
    assert aborted[2.0] <= 5


def test_levels_that_last_longer_than_a_chunk_join_chunks() -> None:
    rng = np.random.default_rng(16)
    calm = rng.poisson(3, 320).tolist()
    lots = rng.poisson(np.repeat(rng.gamma(2, 2, 40), 8)).tolist()
    assert ControlGate(0.05, {"st-1": calm}, 100).joined == 1
    assert ControlGate(0.05, {"st-1": lots}, 100).joined >= 4


def test_past_that_drifts_has_no_limits() -> None:
    with pytest.raises(ValueError, match="expected a past of at least 20 independent chunks"):
        ControlGate(0.05, {"st-1": list(range(100))}, 100)


@given(past=st.lists(st.integers(0, 9), min_size=20, max_size=40), new=st.lists(st.integers(0, 9), max_size=8))
def test_ranks_of_exchangeable_counts_are_fair_bets(past: list[int], new: list[int]) -> None:
    """Over all positions that the newest value could have had among the earlier ones the bet gains nothing."""
    values = [*past, *new]
    for is_upper in (True, False):
        gains = []
        for index, value in enumerate(values):
            ranks = _Ranks([float(one) for one in values[:index] + values[index + 1 :]], is_upper=is_upper)
            ranks.take(float(value))
            gains.append(ranks.wealth)
        # A sum of κ p^(κ-1) over p = 1/n … 1 lies above its integral by the first term at most.
        assert math.fsum(gains) / len(gains) <= 1.0 + 1e-9


@given(counts=st.lists(st.integers(0, 100), max_size=12), index=st.integers(0, 11))
def test_one_more_reject_never_weakens_the_evidence_of_its_chunk(counts: list[int], index: int) -> None:
    before, after = (ControlGate(1e-30, {"st-1": PAST["st-1"]}, 100) for _ in range(2))
    for place, count in enumerate(counts):
        before.update("st-1", count)
        after.update("st-1", min(100, count + 1) if place == index else count)
        if place == index:
            assert after.wealth >= before.wealth
            break


def test_abort_is_final_and_no_data_is_no_watch() -> None:
    gate = ControlGate(0.05, PAST, 100)
    assert gate.chunks == 0
    assert gate.evidence()["decision"] == "CONTINUE"
    for _ in range(40):
        gate.update("st-1", 90)
        gate.update("st-2", 90)
    before = gate.to_dict()
    assert gate.update("st-1", 2) is Decision.ABORT
    assert gate.to_dict() == before


def test_chunks_count_only_when_every_station_finished_them() -> None:
    gate = ControlGate(0.05, PAST, 100)
    for _ in range(5):
        gate.update("st-1", 2)
    assert gate.chunks == 0
    gate.update("st-2", 4)
    gate.update("st-2", 4)
    assert gate.chunks == 2


@pytest.mark.parametrize(
    ("past", "words"),
    [
        ({}, "expected the past of at least one station"),
        ({"st-1": [1] * 19}, "st-1 has 19"),
        ({"st-1": [1] * 30, "st-2": []}, "st-2 has 0"),
        ({"st-1": [101] * 30}, "expected at most 100 hits of st-1, got 101"),
        ({"st-1": [-1] * 30}, "whole number of at least 0, got -1"),
        ({"st-1": [0.5] * 30}, "whole number of at least 0, got 0.5"),
    ],
)
def test_past_that_gives_no_limit_is_refused(past: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ControlGate(0.05, past, 100)


@pytest.mark.parametrize(
    ("station", "count", "words"),
    [
        ("st-9", 1, "expected one of st-1, st-2, got 'st-9'"),
        ("st-1", 101, "at most 100"),
        ("st-1", True, "whole number"),
    ],
)
def test_chunk_that_cannot_be_is_refused(station: str, count: int, words: str) -> None:
    gate = ControlGate(0.05, PAST, 100)
    with pytest.raises(ValueError, match=words):
        gate.update(station, count)


@pytest.mark.parametrize("factor", [0.9, math.nan, math.inf])
def test_tolerated_factor_below_1_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="tolerated_factor"):
        ControlGate(0.05, PAST, 100, tolerated_factor=factor)


def test_what_a_gate_holds_does_not_grow_with_what_it_is_fed() -> None:
    gate = ControlGate(1e-30, PAST, 100, keeps_chunks=False)
    whole = ControlGate(1e-30, PAST, 100)
    for index in range(3_000):
        for each in (gate, whole):
            each.update("st-1", index % 4)
    assert gate.evidence() == whole.evidence()
    assert gate.evidence()["stations"]["st-1"]["parts"] == 300_000
    assert len(pickle.dumps(gate)) < 10_000 < len(pickle.dumps(whole))
    with pytest.raises(ValueError, match="expected one that keeps its chunks"):
        gate.to_dict()
