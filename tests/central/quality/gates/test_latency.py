# SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _gate_runs
from benchmarks._gate_runs import Times, latency
from central.quality.gates import Decision, LatencyGate

RUNS = 2_000


@pytest.mark.parametrize(
    "times",
    [
        Times(),
        Times(pause_rate=0.001, pause_parts=5),
        Times(pause_rate=0.001, pause_parts=10, alone=0.6),
        Times(pause_rate=0.0005, pause_parts=20, is_steady=True),
    ],
    ids=["no pauses", "5 parts", "10 parts, some of both", "exactly 20 parts"],
)
def test_equally_fast_challenger_is_falsely_aborted_in_at_most_5_percent_with_clustered_pauses(times: Times) -> None:
    assert latency(times, RUNS, horizon=3_000, can_promote=False).aborted <= 0.05


@pytest.mark.parametrize("spread", [0.01, 0.05, 0.1, 0.15])
def test_challenger_slower_by_10_percent_is_found_within_500_parts(spread: float) -> None:
    times = Times(spread=spread, slower=1.1, pause_rate=0.0003, pause_parts=5, alone=0.5)
    seen = latency(times, RUNS, horizon=600 if spread < 0.15 else 1_500)
    assert seen.aborted >= 0.97
    assert seen.median_abort <= 500


def test_equally_fast_challenger_is_promoted_in_the_end() -> None:
    seen = latency(Times(pause_rate=0.0003, alone=0.5), 200, horizon=6_000)
    assert seen.promoted >= 0.95
    assert seen.median_promotion <= 2_500


def test_challenger_that_loses_blocks_by_the_margin_is_falsely_promoted_in_at_most_5_percent() -> None:
    """One part per block is above the limit with the right chance: -1 in 17.5 %, +1 in 7.5 % of the blocks."""
    rng = np.random.default_rng(11)
    ended = dict.fromkeys(Decision, 0)
    for _ in range(RUNS):
        # The gate aborts a slower challenger, as it should; only what it promotes is counted.
        gate = LatencyGate(0.05, 10.0)
        for draw in rng.random(50).tolist():
            gate.update(11.0 if draw < 0.075 else 9.0, 11.0 if draw > 0.825 else 9.0)
            for _ in range(9):
                gate.update(9.0, 9.0)
        ended[gate.decision] += 1
    assert ended[Decision.PROMOTE] / RUNS <= 0.05


def test_quiet_blocks_that_the_simulation_leaves_out_change_no_abort() -> None:
    rng = np.random.default_rng(12)
    times = Times(pause_rate=0.004, pause_parts=8)
    p99_ms, aborted = times.p99_ms(rng), 0
    for _ in range(60):
        drawn = times.draw(3_000, rng)
        kept = _gate_runs._not_quiet(drawn > p99_ms)
        assert len(kept) < len(drawn)
        whole, short = (LatencyGate(0.3, p99_ms, margin=1e-9) for _ in range(2))
        decisions = [whole.update(*pair) for pair in drawn.tolist()]
        for part, pair in zip(kept.tolist(), drawn[kept].tolist(), strict=True):
            assert short.update(*pair) is decisions[part]
        aborted += whole.decision is Decision.ABORT
        assert short.decision is whole.decision
    assert aborted > 3


def test_pause_over_many_parts_is_one_vote() -> None:
    gate = LatencyGate(0.05, 10.0)
    for part in range(100):
        # From part 7 to part 26: three blocks, 20 parts.
        gate.update(9.0, 30.0 if 7 <= part < 27 else 9.0)
    assert gate.evidence()["blocks_lost"] == 1
    assert gate.evidence()["blocks_even"] == 9
    assert gate.evidence()["challenger_above"] == 20


def test_challenger_that_is_always_too_slow_is_not_taken_for_one_long_pause() -> None:
    gate = LatencyGate(0.05, 10.0)
    while gate.update(9.0, 11.0) is Decision.CONTINUE:
        assert gate.parts < 250
    assert gate.decision is Decision.ABORT


def test_parts_of_one_block_are_one_vote_however_many_exceed() -> None:
    one, all_of_them = LatencyGate(0.05, 10.0), LatencyGate(0.05, 10.0)
    for part in range(10):
        one.update(9.0, 11.0 if part == 4 else 9.0)
        all_of_them.update(9.0, 11.0)
    assert one.log_evidence == all_of_them.log_evidence


@given(times=st.lists(st.tuples(st.sampled_from([9.0, 11.0]), st.sampled_from([9.0, 11.0])), max_size=250))
def test_gate_is_even_handed_between_the_packages(times: list[tuple[float, float]]) -> None:
    one, other = LatencyGate(1e-30, 10.0), LatencyGate(1e-30, 10.0)
    for champion_ms, challenger_ms in times:
        one.update(champion_ms, challenger_ms)
        other.update(challenger_ms, champion_ms)
    assert one._blocks == other._blocks[::-1]


def test_machine_that_grew_slower_for_both_aborts_nothing() -> None:
    rng = np.random.default_rng(13)
    aborted = 0
    for _ in range(300):
        gate = LatencyGate(0.05, 20.0)
        for pair in Times(spread=0.1, shared=0.0).draw(1_000, rng).tolist():
            gate.update(*pair)
        aborted += gate.decision is Decision.ABORT
    assert aborted / 300 <= 0.05


def test_run_that_never_ended_is_above_every_limit() -> None:
    gate = LatencyGate(0.05, 10.0)
    gate.update(9.0, math.inf)
    assert gate.evidence()["challenger_above"] == 1


def test_decided_gate_stays_decided_and_counts_nothing_more() -> None:
    gate = LatencyGate(0.05, 10.0)
    while gate.update(9.0, 11.0) is Decision.CONTINUE:
        pass
    before = gate.to_dict()
    for _ in range(3_000):
        assert gate.update(11.0, 9.0) is Decision.ABORT
    assert gate.to_dict() == before


@pytest.mark.parametrize("pair", [(math.nan, 9.0), (9.0, math.nan), (-1.0, 9.0), ("9", 9.0), (9.0, None), (True, 9.0)])
def test_time_that_is_none_is_refused_and_changes_nothing(pair: tuple[Any, Any]) -> None:
    gate = LatencyGate(0.05, 10.0)
    before = gate.to_dict()
    with pytest.raises(ValueError, match=r"expected (champion|challenger)_ms to be a time"):
        gate.update(*pair)
    assert gate.to_dict() == before


@pytest.mark.parametrize(
    ("alpha", "p99_ms"), [(0.0, 10.0), (0.05, 0.0), (0.05, -1.0), (0.05, math.nan), (0.05, math.inf)]
)
def test_gate_that_cannot_be_is_refused(alpha: float, p99_ms: float) -> None:
    with pytest.raises(ValueError, match="latency gate: expected"):
        LatencyGate(alpha, p99_ms)
