# SPDX-License-Identifier: Apache-2.0
"""How much is audited: normal, tightened and reduced inspection, discontinued, and skip-lot. A pure state machine.

The switching rules of ISO 2859-1 as they are known from public accounts; the standard's own text was not read, so no
clause is named. One shift of one product at one station stands for a lot. Draws nothing and knows no clock; for the
service that sets the audit budget, once per shift.

Rules, with the numbers of `SwitchingRules`:
- normal → tightened: 2 of 5 or fewer shifts in a row not accepted.
- tightened → normal: 5 shifts in a row accepted.
- tightened → discontinued: 5 shifts not accepted while tightened, in all. Then every part is to be held or judged by
  people, until a person says that the cause is removed (`resume`), which goes on tightened.
- normal → reduced: a switching score of 30, while production is steady. A shift adds its credit; one without credit
  starts the score again.
- reduced → normal: a shift not accepted, production irregular, or an open alarm. Another package is irregular at once
  (`restored`): what the one before it earned says nothing of it.
- skip-lot (after ISO 2859-3, of which only the public abstract was read): only while reduced and after so many accepted
  shifts there; then one shift in `skip_one_in` is audited, picked by chance. No shift is skipped wholly: it keeps
  `SKIPPED_FLOOR` of its budget, for what nobody looks at can hide any number of escapes.

What an accepted shift is, is decided by `acceptance`: not more defective audits than the tolerated share gives in all
but 5 of 100 shifts. A shift of which nothing is known relaxes nothing: else audits that nobody judges would.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from scipy import stats

SKIPPED_FLOOR: Final = 0.1
_PRODUCERS_RISK: Final = 0.05
_SMALL_NUMBER: Final = 1
_CREDIT: Final = 3
_CREDIT_SMALL: Final = 2


class Inspection(StrEnum):
    """How severely audits are drawn."""

    NORMAL = "NORMAL"
    TIGHTENED = "TIGHTENED"
    REDUCED = "REDUCED"
    SKIP_LOT = "SKIP_LOT"
    DISCONTINUED = "DISCONTINUED"


@dataclass(frozen=True)
class SwitchingRules:
    """The numbers of the rules, and what each state does to the budget of a shift.

    Raises:
        ValueError: numbers below 1, or factors out of order: the settings are wrong.
    """

    rejected_to_tighten: int = 2
    within_shifts: int = 5
    accepted_to_relax: int = 5
    rejected_to_discontinue: int = 5
    score_to_reduce: int = 30
    accepted_to_skip: int = 10
    skip_one_in: int = 4
    tightened_factor: float = 2.5
    reduced_factor: float = 0.4

    def __post_init__(self) -> None:
        numbers = (
            self.rejected_to_tighten,
            self.within_shifts,
            self.accepted_to_relax,
            self.rejected_to_discontinue,
            self.score_to_reduce,
            self.accepted_to_skip,
            self.skip_one_in,
        )
        if min(numbers) < 1 or not 0.0 < self.reduced_factor <= 1.0 <= self.tightened_factor:
            msg = (
                "switching rules: expected numbers of at least 1 and reduced factor <= 1 <= tightened factor, got "
                f"{numbers}, {self.reduced_factor}, {self.tightened_factor}"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class ShiftOutcome:
    """What the audits of one shift said.

    `credit`: what it adds to the switching score, 0 when it showed too little. `is_steady`: production ran as usual and
    no alarm on this product is open. `is_known`: at least one audit was judged.
    """

    is_accepted: bool
    credit: int
    is_steady: bool = True
    is_known: bool = True


@dataclass(frozen=True)
class SwitchingState:
    """Where one station × product stands. `recent`: the last shifts under normal inspection, True for accepted."""

    inspection: Inspection = Inspection.NORMAL
    recent: tuple[bool, ...] = ()
    score: int = 0
    accepted_in_a_row: int = 0
    rejected_while_tightened: int = 0


def acceptance(audits: int, defective: int, tolerated_share: float) -> ShiftOutcome:
    """Judge a shift by its audits, drawn with equal chance.

    The acceptance number is the 95 % point of the binomial distribution at the tolerated share, so a process at that
    share is accepted at least 95 times of 100. Credit: 3 when it would be accepted with one less, 2 when the acceptance
    number is 0 or 1 and knows no less. Audits by unequal chances have an interval (`rates.py`), not an acceptance
    number: thin them first (`confidence_sequence.equal_chance`).

    Raises:
        ValueError: counts that cannot be, or a share outside 0 … 1.
    """
    if audits < 0 or not 0 <= defective <= audits or not 0.0 < tolerated_share < 1.0:
        msg = (
            "acceptance: expected 0 <= defective <= audits and a tolerated share between 0 and 1, got "
            f"{defective}, {audits}, {tolerated_share}"
        )
        raise ValueError(msg)
    limit = int(stats.binom.ppf(1.0 - _PRODUCERS_RISK, audits, tolerated_share)) if audits else 0
    if audits == 0 or defective > limit:
        # Without audits nothing was shown: not refused, but it earns no trust.
        return ShiftOutcome(is_accepted=audits == 0, credit=0, is_known=audits > 0)
    if limit <= _SMALL_NUMBER:
        return ShiftOutcome(is_accepted=True, credit=_CREDIT_SMALL)
    return ShiftOutcome(is_accepted=True, credit=_CREDIT if defective < limit else 0)


def next_state(state: SwitchingState, outcome: ShiftOutcome, rules: SwitchingRules | None = None) -> SwitchingState:
    """The state for the next shift. A discontinued one stays until `resume`."""
    numbers = rules or SwitchingRules()
    match state.inspection:
        case Inspection.NORMAL:
            return _after_normal(state, outcome, numbers)
        case Inspection.TIGHTENED:
            return _after_tightened(state, outcome, numbers)
        case Inspection.REDUCED | Inspection.SKIP_LOT:
            return _after_reduced(state, outcome, numbers)
        case Inspection.DISCONTINUED:
            return state


def tightened(state: SwitchingState) -> SwitchingState:
    """Tighten at once, whatever the shifts said: an alarm on escapes is open. A discontinued state stays."""
    if state.inspection in (Inspection.DISCONTINUED, Inspection.TIGHTENED):
        return state
    return SwitchingState(Inspection.TIGHTENED)


def restored(state: SwitchingState) -> SwitchingState:
    """Take reduced inspection and skip-lot back at once, with nothing remembered; what is being earned is kept.

    For what makes earlier shifts say nothing of the next one: another package, a product that was not made for long.
    """
    return SwitchingState() if state.inspection in (Inspection.REDUCED, Inspection.SKIP_LOT) else state


def resume(state: SwitchingState) -> SwitchingState:
    """Go on after a person removed the cause: tightened, with nothing remembered.

    Raises:
        ValueError: nothing was discontinued.
    """
    if state.inspection is not Inspection.DISCONTINUED:
        msg = f"resume: expected a DISCONTINUED state, got {state.inspection}; there is nothing to resume"
        raise ValueError(msg)
    return SwitchingState(Inspection.TIGHTENED)


def shift_budget(
    state: SwitchingState, budget: int, accepted: int, chance: float, rules: SwitchingRules | None = None
) -> int:
    """How many parts of this shift to audit.

    Args:
        state: of the station and product.
        budget: under normal inspection.
        accepted: how many parts may be drawn from, expected or real; never more are drawn.
        chance: uniform in [0, 1), drawn once for the shift: decides whether skip-lot leaves it out.
        rules: the plant's own numbers.

    Raises:
        ValueError: negative numbers or a chance outside [0, 1).
    """
    numbers = rules or SwitchingRules()
    if budget < 0 or accepted < 0 or not 0.0 <= chance < 1.0:
        msg = f"shift budget: expected numbers of 0 or more and a chance in [0, 1), got {budget}, {accepted}, {chance}"
        raise ValueError(msg)
    factor = budget_factor(state, chance, numbers)
    if budget == 0 or accepted == 0:
        return 0
    return accepted if factor == math.inf else max(1, min(accepted, round(budget * factor)))


def budget_factor(state: SwitchingState, chance: float, rules: SwitchingRules | None = None) -> float:
    """What a state does to the budget under normal inspection; infinite while discontinued. `chance`: of the shift."""
    numbers = rules or SwitchingRules()
    return {
        Inspection.NORMAL: 1.0,
        Inspection.TIGHTENED: numbers.tightened_factor,
        Inspection.REDUCED: numbers.reduced_factor,
        Inspection.SKIP_LOT: numbers.reduced_factor if chance * numbers.skip_one_in < 1.0 else SKIPPED_FLOOR,
        Inspection.DISCONTINUED: math.inf,
    }[state.inspection]


def _after_normal(state: SwitchingState, outcome: ShiftOutcome, rules: SwitchingRules) -> SwitchingState:
    recent = (*state.recent, outcome.is_accepted)[-rules.within_shifts :]
    if recent.count(False) >= rules.rejected_to_tighten:
        return SwitchingState(Inspection.TIGHTENED)
    score = state.score + outcome.credit if outcome.is_accepted and outcome.credit else 0
    if score >= rules.score_to_reduce and outcome.is_steady:
        return SwitchingState(Inspection.REDUCED)
    # Not above the limit: an unsteady shift keeps what was earned, but earns no more than it takes.
    return replace(state, recent=recent, score=min(score, rules.score_to_reduce))


def _after_tightened(state: SwitchingState, outcome: ShiftOutcome, rules: SwitchingRules) -> SwitchingState:
    if not outcome.is_known:
        return state
    if not outcome.is_accepted:
        rejected = state.rejected_while_tightened + 1
        if rejected >= rules.rejected_to_discontinue:
            return SwitchingState(Inspection.DISCONTINUED)
        return replace(state, accepted_in_a_row=0, rejected_while_tightened=rejected)
    in_a_row = state.accepted_in_a_row + 1
    if in_a_row >= rules.accepted_to_relax:
        return SwitchingState(Inspection.NORMAL)
    return replace(state, accepted_in_a_row=in_a_row)


def _after_reduced(state: SwitchingState, outcome: ShiftOutcome, rules: SwitchingRules) -> SwitchingState:
    if not (outcome.is_accepted and outcome.is_steady):
        # The shift that ended the trust counts among the five of normal inspection.
        return SwitchingState(Inspection.NORMAL, recent=(outcome.is_accepted,))
    if not outcome.is_known:
        return state
    in_a_row = min(state.accepted_in_a_row + 1, rules.accepted_to_skip)
    is_skipping = in_a_row >= rules.accepted_to_skip
    return replace(
        state, inspection=Inspection.SKIP_LOT if is_skipping else Inspection.REDUCED, accepted_in_a_row=in_a_row
    )
