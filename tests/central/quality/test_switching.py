# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from central.quality.switching import (
    Inspection,
    ShiftOutcome,
    SwitchingRules,
    SwitchingState,
    acceptance,
    next_state,
    restored,
    resume,
    shift_budget,
    tightened,
)

GOOD = ShiftOutcome(is_accepted=True, credit=3)
BARELY = ShiftOutcome(is_accepted=True, credit=0)
BAD = ShiftOutcome(is_accepted=False, credit=0)
UNSTEADY = ShiftOutcome(is_accepted=True, credit=3, is_steady=False)
UNKNOWN = ShiftOutcome(is_accepted=True, credit=0, is_known=False)
TIGHTENED = SwitchingState(Inspection.TIGHTENED)
REDUCED = SwitchingState(Inspection.REDUCED)


def _after(state: SwitchingState, *outcomes: ShiftOutcome) -> SwitchingState:
    for outcome in outcomes:
        state = next_state(state, outcome)
    return state


@pytest.mark.parametrize("between", range(5))
def test_two_rejected_within_five_tighten(between: int) -> None:
    state = _after(SwitchingState(), BAD, *[BARELY] * between, BAD)
    assert state.inspection is (Inspection.TIGHTENED if between <= 3 else Inspection.NORMAL)


def test_five_accepted_in_a_row_relax() -> None:
    assert _after(TIGHTENED, *[GOOD] * 4).inspection is Inspection.TIGHTENED
    assert _after(TIGHTENED, *[GOOD] * 5) == SwitchingState(Inspection.NORMAL)
    assert _after(TIGHTENED, *[GOOD] * 4, BAD, *[GOOD] * 4).inspection is Inspection.TIGHTENED


def test_five_rejected_while_tightened_discontinue_until_a_person_resumes() -> None:
    outcomes = list(itertools.chain.from_iterable([BAD, GOOD, GOOD] for _ in range(5)))
    stopped = _after(TIGHTENED, *outcomes)
    assert stopped.inspection is Inspection.DISCONTINUED
    assert _after(stopped, *[GOOD] * 50) == stopped
    assert tightened(stopped) == stopped
    assert resume(stopped) == TIGHTENED
    with pytest.raises(ValueError, match="nothing to resume"):
        resume(SwitchingState())


def test_relaxing_forgets_the_rejected_shifts_before() -> None:
    back = _after(TIGHTENED, *[BAD] * 4, *[GOOD] * 5)
    assert back == SwitchingState(Inspection.NORMAL)


def test_thirty_points_reduce() -> None:
    assert _after(SwitchingState(), *[GOOD] * 9).inspection is Inspection.NORMAL
    assert _after(SwitchingState(), *[GOOD] * 10).inspection is Inspection.REDUCED
    small = acceptance(10, 0, 0.001)
    assert _after(SwitchingState(), *[small] * 14).inspection is Inspection.NORMAL
    assert _after(SwitchingState(), *[small] * 15).inspection is Inspection.REDUCED
    assert _after(SwitchingState(), *[GOOD] * 9, BARELY, *[GOOD] * 9).inspection is Inspection.NORMAL
    assert _after(SwitchingState(), *[GOOD] * 9, BAD, *[GOOD] * 9).inspection is Inspection.NORMAL


def test_nothing_is_reduced_while_production_is_not_steady() -> None:
    state = _after(SwitchingState(), *[UNSTEADY] * 30)
    assert state.inspection is Inspection.NORMAL
    assert next_state(state, GOOD).inspection is Inspection.REDUCED


@pytest.mark.parametrize("last", [BAD, UNSTEADY])
def test_one_bad_or_unsteady_shift_ends_reduced_and_skip_lot(last: ShiftOutcome) -> None:
    for shifts in (0, 12):
        assert _after(REDUCED, *[GOOD] * shifts, last).inspection is Inspection.NORMAL


def test_the_shift_that_ended_the_trust_counts_towards_tightening() -> None:
    assert _after(REDUCED, BAD, BAD).inspection is Inspection.TIGHTENED


def test_skip_lot_is_earned_while_reduced() -> None:
    assert _after(REDUCED, *[GOOD] * 9).inspection is Inspection.REDUCED
    assert _after(REDUCED, *[GOOD] * 10).inspection is Inspection.SKIP_LOT
    assert _after(REDUCED, *[GOOD] * 500) == _after(REDUCED, *[GOOD] * 10)


def test_shifts_that_nobody_judged_relax_nothing() -> None:
    half = _after(TIGHTENED, *[GOOD] * 4)
    assert _after(half, *[UNKNOWN] * 50) == half
    assert _after(REDUCED, *[UNKNOWN] * 50) == REDUCED
    assert _after(SwitchingState(), *[UNKNOWN] * 50).inspection is Inspection.NORMAL


def test_another_package_takes_back_what_was_earned_and_nothing_else() -> None:
    for state in (REDUCED, _after(REDUCED, *[GOOD] * 10)):
        assert restored(state) == SwitchingState()
    for state in (_after(SwitchingState(), BAD, GOOD), TIGHTENED, SwitchingState(Inspection.DISCONTINUED)):
        assert restored(state) == state


def test_an_alarm_tightens_from_anywhere() -> None:
    for state in (SwitchingState(), REDUCED, _after(REDUCED, *[GOOD] * 10)):
        assert tightened(state) == TIGHTENED
    half = _after(TIGHTENED, GOOD, BAD)
    assert tightened(half) == half


def test_budget_follows_the_state() -> None:
    skip = _after(REDUCED, *[GOOD] * 10)
    budgets = [shift_budget(s, 100, 9_000, 0.9) for s in (SwitchingState(), TIGHTENED, REDUCED, skip)]
    assert budgets == [100, 250, 40, 10]
    assert shift_budget(SwitchingState(Inspection.DISCONTINUED), 100, 9_000, 0.0) == 9_000
    assert shift_budget(TIGHTENED, 100, 120, 0.0) == 120
    assert shift_budget(REDUCED, 1, 9_000, 0.0) == 1
    assert shift_budget(TIGHTENED, 0, 9_000, 0.0) == 0


def test_skip_lot_audits_one_shift_in_four() -> None:
    skip = _after(REDUCED, *[GOOD] * 10)
    rng = np.random.default_rng(1)
    full = [shift_budget(skip, 100, 9_000, float(rng.random())) == 40 for _ in range(4_000)]
    assert np.mean(full) == pytest.approx(0.25, abs=0.03)


def test_acceptance_numbers() -> None:
    # Binomial at 1 %: at most 4 of 200 with chance .948, at most 5 with .984.
    assert acceptance(200, 4, 0.01) == GOOD
    assert acceptance(200, 5, 0.01) == BARELY
    assert acceptance(200, 6, 0.01) == BAD
    assert acceptance(0, 0, 0.01) == UNKNOWN
    # Acceptance number 0, at most none with chance .99: nothing is tighter than that.
    assert acceptance(10, 0, 0.001) == ShiftOutcome(is_accepted=True, credit=2)
    assert acceptance(10, 1, 0.001) == BAD


def test_a_process_at_the_tolerated_share_is_seldom_tightened_one_of_five_times_it_soon() -> None:
    rng = np.random.default_rng(4)

    def tightened_within(share: float, shifts: int) -> float:
        count = 0
        for _ in range(400):
            state = SwitchingState()
            for found in rng.binomial(200, share, size=shifts):
                state = next_state(state, acceptance(200, int(found), 0.01))
                if state.inspection is Inspection.TIGHTENED:
                    count += 1
                    break
        return count / 400

    assert tightened_within(0.01, 20) < 0.35
    assert tightened_within(0.002, 100) < 0.01
    assert tightened_within(0.05, 6) > 0.99


@pytest.mark.parametrize(("audits", "defective", "share"), [(-1, 0, 0.01), (3, 4, 0.01), (3, 1, 0.0), (3, 1, 1.0)])
def test_impossible_shifts_are_refused(audits: int, defective: int, share: float) -> None:
    with pytest.raises(ValueError, match="acceptance: expected"):
        acceptance(audits, defective, share)


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="switching rules"):
        SwitchingRules(within_shifts=0)
    with pytest.raises(ValueError, match="switching rules"):
        SwitchingRules(reduced_factor=2.0)
    with pytest.raises(ValueError, match="shift budget"):
        shift_budget(SwitchingState(), 10, 10, 1.0)
