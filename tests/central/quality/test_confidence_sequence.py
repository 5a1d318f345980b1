# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from central.quality.confidence_sequence import ConfidenceSequence, equal_chance, log_wealth


@pytest.mark.parametrize("prior", [(0.5, 20.0), (1.0, 1.0)])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.3])
def test_wealth_of_a_true_share_is_a_fair_bet(share: float, prior: tuple[float, float]) -> None:
    """Its mean over all outcomes of 60 audits is 1, exactly: that is what the promise rests on."""
    count = np.arange(61)
    chance = stats.binom.pmf(count, 60, share)
    assert np.sum(chance * np.exp(log_wealth(count, 60 - count, share, prior))) == pytest.approx(1.0)


def test_the_class_holds_the_truth_at_every_look() -> None:
    """As in the benchmark, but through the object itself, look by look."""
    rng = np.random.default_rng(12)
    wrong = 0
    for _ in range(60):
        sequence = ConfidenceSequence()
        seen = [sequence.update(bool(found)) for found in rng.random(300) < 0.02]
        wrong += any(not interval.low <= 0.02 <= interval.high for interval in seen)
    assert wrong <= 6  # 3 on average at worst; more than 6 in 3 of 100 such tests.


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([0.8, 0.95, 0.99]))
def test_ends_are_where_a_share_stops_being_held(outcomes: list[bool], confidence: float) -> None:
    sequence = ConfidenceSequence(confidence)
    interval = sequence.update_many(np.array(outcomes, dtype=bool))
    assert sequence.audits == len(outcomes)
    assert sequence.defective == sum(outcomes)
    assert 0.0 <= interval.low <= interval.high <= 1.0
    if not outcomes:
        assert interval.estimate is None
        return
    if interval.low > 0:
        assert not sequence.holds(interval.low * 0.999)
        assert sequence.holds(interval.low * 1.001)
    if interval.high < 1:
        assert not sequence.holds(min(1.0, interval.high * 1.001))
        assert sequence.holds(interval.high * 0.999)


def test_the_interval_never_widens_and_a_restart_changes_nothing() -> None:
    outcomes = np.random.default_rng(3).random(400) < 0.03
    straight, restarted = ConfidenceSequence(), ConfidenceSequence()
    width = 1.0
    for found in outcomes:
        one = straight.update(bool(found))
        restarted = ConfidenceSequence.from_bytes(restarted.to_bytes())
        assert restarted.update(bool(found)) == one
        assert one.high - one.low <= width
        width = one.high - one.low
    assert restarted.to_bytes() == straight.to_bytes()


def test_parts_that_changed_are_shown_as_they_are_now() -> None:
    sequence = ConfidenceSequence()
    assert sequence.update_many(np.zeros(3_000, dtype=bool)).high < 0.01
    late = sequence.update_many(np.ones(300, dtype=bool))
    assert late.estimate is not None
    assert late.low > 0.05
    assert late.low <= late.estimate <= late.high


@pytest.mark.parametrize(
    "state",
    [b"", b"{}", b'{"version": 2}', b'{"version":1,"confidence":0.95,"prior":[1,1],"defective":-1,"good":0}', b"[]"],
)
def test_a_state_that_is_none_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="begin anew"):
        ConfidenceSequence.from_bytes(state)


@pytest.mark.parametrize("arguments", [(0.0,), (1.0,), (float("nan"),), (0.95, 0.0), (0.95, 1.0, float("inf"))])
def test_a_promise_that_cannot_be_is_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ConfidenceSequence(*arguments)


def test_outcomes_that_are_not_yes_or_no_are_refused() -> None:
    with pytest.raises(ValueError, match="true or false"):
        ConfidenceSequence().update_many(np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="share in 0"):
        ConfidenceSequence().holds(1.5)


def test_thinning_leaves_each_audit_the_least_chance() -> None:
    rng = np.random.default_rng(7)
    chance = np.array([0.1, 0.2, 0.4, 1.0])
    kept = np.mean([equal_chance(chance, rng) for _ in range(20_000)], axis=0)
    assert kept * chance == pytest.approx(np.full(4, 0.1), abs=0.006)
    assert equal_chance(np.empty(0), rng).size == 0
    assert equal_chance(np.full(500, 0.3), rng).all()
    kept = np.mean([equal_chance(chance, rng, 0.05) for _ in range(20_000)], axis=0)
    assert kept * chance == pytest.approx(np.full(4, 0.05), abs=0.006)
    with pytest.raises(ValueError, match="inclusion probabilities"):
        equal_chance(np.array([0.0, 0.5]), rng)
    with pytest.raises(ValueError, match="least chance"):
        equal_chance(chance, rng, 0.2)
