# SPDX-License-Identifier: Apache-2.0
"""Not worse than a margin, over all parts: betting e-processes, with equal or with different costs of an error.

Parts on which both packages agree need no label and still count: they bound how much worse the challenger can be. A
part that waits for its label counts as the worst for either decision, so labels may come late, in any order, or never.
Draws no parts and knows no station. Called by `services` through `domain/rollout_gates.py`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from central.quality.gates.betting import Bets
from central.quality.gates.decision import (
    Decision,
    Json,
    StoredState,
    require_count,
    require_number,
    require_share,
    stored,
)

_SIGNS: Final = (-1, 0, 1)


class _PartsGate:
    """What both gates share: counts of each value, parts that wait for a label, a bet for each side.

    `values` rise; the first is the worst for the challenger, the last the best, and one of them is 0.
    """

    kind: str

    def __init__(self, alpha: float, margin: float, values: Sequence[float]) -> None:
        self.alpha: Final = require_share(f"{self.kind} gate", "alpha", alpha)
        self._log_limit: Final = -math.log(self.alpha)
        self._values: Final = tuple(values)
        self._equal: Final = self._values.index(0.0)
        self._promote: Final = Bets(values, -margin)
        self._abort: Final = Bets(values, -margin, is_from_below=False)
        # A value above -margin raises the promote side and lowers the other, so only one of them can decide.
        self._speaks_for: Final = tuple(value > -margin for value in values)
        self._counts = [0] * len(self._values)
        # What the wealths cannot be above. They are worked out only where that reaches the limit: the same decisions.
        self._promote_most = self._abort_most = math.inf
        self.waiting = 0
        self.decision = Decision.CONTINUE

    def update_equal(self, parts: int) -> Decision:
        """Take in parts on which both packages agree; the same as that many updates with 0, in one step.

        Raises:
            ValueError: not a whole number from 0 up.
        """
        require_count(f"{self.kind} gate", "parts", parts)
        if self.decision is not Decision.CONTINUE:
            return self.decision
        before = self._counts[self._equal]
        self._counts[self._equal] = before + parts
        self._promote_most += parts * self._promote.most[self._equal]
        if self._promote_most < self._log_limit or not self._is_promoting():
            return self.decision
        # An equal part can only speak for the challenger: the first at which it is promoted is found by halving.
        self.decision, low, high = Decision.PROMOTE, before, before + parts
        while high - low > 1:
            self._counts[self._equal] = (low + high) // 2
            low, high = (low, self._counts[self._equal]) if self._is_promoting() else (self._counts[self._equal], high)
        self._counts[self._equal] = high
        return self.decision

    def wait_for_label(self) -> Decision:
        """Take in a part on which the packages differ and whose label is not known yet; `settle` it later.

        Until then, or for ever if no label comes, it counts as the worst that it can be: against a promotion as if the
        challenger were wrong, against an abort as if it were right. The wealth is then never above the one with
        labels, which keeps both errors. Left out instead, parts that agree would promote anything while labels wait.
        """
        if self.decision is Decision.CONTINUE:
            self.waiting += 1
        return self.decision

    @property
    def parts(self) -> int:
        """Parts taken in, equal and waiting ones included."""
        return sum(self._counts) + self.waiting

    @property
    def labels(self) -> int:
        """Labelled discordant parts."""
        return sum(self._counts) - self._counts[self._equal]

    @property
    def log_evidence(self) -> tuple[float, float]:
        """Natural logarithm of the e-value to abort and of the one to promote. Decides at -ln(alpha)."""
        return self._abort.log_wealth(self._with_waiting(-1)), self._promote.log_wealth(self._with_waiting(0))

    def _settle(self, value_index: int) -> Decision:
        if self.decision is Decision.CONTINUE:
            if not self.waiting:
                raise ValueError(f"{self.kind} gate: expected a part that waits for its label, there is none")
            self.waiting -= 1
            self._counts[value_index] += 1
            if self._is_aborting():
                self.decision = Decision.ABORT
            elif self._is_promoting():
                self.decision = Decision.PROMOTE
        return self.decision

    def _take(self, value_index: int) -> Decision:
        if self.decision is Decision.CONTINUE:
            self._counts[value_index] += 1
            if self._speaks_for[value_index]:
                self._promote_most += self._promote.most[value_index]
                if self._promote_most >= self._log_limit and self._is_promoting():
                    self.decision = Decision.PROMOTE
            else:
                self._abort_most += self._abort.most[value_index]
                if self._abort_most >= self._log_limit and self._is_aborting():
                    self.decision = Decision.ABORT
        return self.decision

    def _is_aborting(self) -> bool:
        self._abort_most = self._abort.log_wealth(self._with_waiting(-1))
        return self._abort_most >= self._log_limit

    def _is_promoting(self) -> bool:
        self._promote_most = self._promote.log_wealth(self._with_waiting(0))
        return self._promote_most >= self._log_limit

    def _with_waiting(self, value_index: int) -> Sequence[int]:
        if not self.waiting:
            return self._counts
        counts = list(self._counts)
        counts[value_index] += self.waiting
        return counts

    def _restore(self, read: StoredState) -> None:
        self._counts = read.counts("counts", len(self._values))
        self.waiting, self.decision = read.count("waiting"), read.decision()

    def _shown(self) -> Json:
        log_abort, log_promote = self.log_evidence
        return {
            "gate": self.kind, "decision": self.decision.value, "alpha": self.alpha, "parts": self.parts,
            "labels": self.labels, "waiting": self.waiting, "log_e_abort": log_abort, "log_e_promote": log_promote,
            "log_e_needed": self._log_limit,
        }  # fmt: skip


class MarginGate(_PartsGate):
    """Is the challenger worse than the champion by `margin` per part, or not?

    The difference of a part is +1 where the challenger alone is right, -1 where the champion alone is, 0 where they
    agree. Promotes when a betting e-process against "mean ≤ -margin" reaches 1/alpha, aborts when the one against
    "mean ≥ -margin" does. Method: Waudby-Smith and Ramdas (2024), mixture over 12 fixed stakes; for the long run of
    such mixtures see Howard, Ramdas, McAuliffe and Sekhon (Annals of Statistics 2021).

    Errors: a challenger worse by the margin or more is ever promoted with chance alpha at most, one that is not is ever
    aborted with chance alpha at most, looked at after every part. Assumes that the mean difference given the parts
    before stays on its side of the margin. A batch of parts that only one package gets right breaks it for as long as
    it lasts: spread a wave over batches.

    Once decided it stays decided: later parts are checked, then ignored.
    """

    kind = "margin"

    def __init__(self, alpha: float = 0.05, margin: float = 0.005) -> None:
        """Args: alpha: chance of a false abort, and of a false promotion; margin: share of parts; both in (0, 1)."""
        self.margin: Final = require_share("margin gate", "margin", margin)
        super().__init__(alpha, self.margin, (-1.0, 0.0, 1.0))

    def update(self, difference: int) -> Decision:
        """Take in one part whose difference is known.

        Args:
            difference: +1 the challenger alone is right, -1 the champion alone is, 0 both say the same.

        Raises:
            ValueError: something else than -1, 0 or 1.
        """
        return self._take(1 + _sign(self.kind, difference))

    def settle(self, difference: int) -> Decision:
        """Give the label of a part that waited: its difference, 0 when the label made them equal after all.

        Raises:
            ValueError: something else than -1, 0 or 1, or no part waits.
        """
        return self._settle(1 + _sign(self.kind, difference))

    def evidence(self) -> Json:
        """What the decision rests on, for a page. `mean_difference` is per part, waiting ones left out."""
        worse, equal, better = self._counts
        of = worse + equal + better
        mean = (better - worse) / of if of else None
        return {
            **self._shown(), "margin": self.margin, "challenger_right": better, "champion_right": worse, "equal": equal,
            "mean_difference": mean,
        }  # fmt: skip

    def to_dict(self) -> Json:
        """State for JSON; `from_dict` gives a gate that goes on to the last bit."""
        return stored(
            self.kind, alpha=self.alpha, margin=self.margin, counts=list(self._counts), waiting=self.waiting,
            decision=self.decision.value,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The gate that `to_dict` was called on.

        Raises:
            ValueError: the state of another gate or version, or a field that cannot be.
        """
        read = StoredState(cls.kind, state)
        gate = cls(read.number("alpha"), read.number("margin"))
        gate._restore(read)
        return gate


class CostGate(_PartsGate):
    """MarginGate and DiscordanceGate where an escape and an overkill cost differently.

    A labelled discordant part is worth what the error that one package made costs: a defective part on which the
    challenger alone is right saves one escape, a good one saves one overkill, and the other way round. The gate bets on
    that difference of cost, with values ±escape_cost, ±overkill_cost and 0. With `margin` 0 only labelled discordant
    parts matter, and the question is the one of DiscordanceGate: does the challenger cost more? With a margin, in
    cost per part, it is the one of MarginGate and wants all parts.

    Why not simply count an escape several times in DiscordanceGate: ten copies of one label are no ten labels, and the
    false aborts and promotions then leave their limit. A bet on the cost itself keeps them. The price: one dear error
    can weigh more than many cheap ones, so the cheap ones alone convince slowly.

    Errors and assumptions: those of MarginGate, with "mean cost per part" (margin 0: per labelled discordant part).
    """

    kind = "cost"

    def __init__(self, alpha: float, escape_cost: float, overkill_cost: float, margin: float = 0.0) -> None:
        """Args: alpha: in (0, 1); costs: above 0, any unit; margin: the same unit per part, below the larger cost."""
        self.escape_cost: Final = _cost("escape_cost", escape_cost)
        self.overkill_cost: Final = _cost("overkill_cost", overkill_cost)
        self.margin: Final = require_number("cost gate", "margin", margin)
        largest = max(self.escape_cost, self.overkill_cost)
        if not 0.0 <= self.margin < largest:
            raise ValueError(f"cost gate: expected a margin from 0 to below {largest}, the larger cost, got {margin!r}")
        costs = (self.escape_cost / largest, self.overkill_cost / largest)
        self._order: Final = tuple(sorted({sign * cost for cost in costs for sign in _SIGNS}))
        self._unit: Final = largest
        super().__init__(alpha, self.margin / largest, self._order)

    def update(self, difference: int, is_defective: bool | None = None) -> Decision:
        """Take in one part whose difference is known.

        Args:
            difference: +1 the challenger alone is right, -1 the champion alone is, 0 both say the same.
            is_defective: what the person said of the part; None only where the difference is 0.

        Raises:
            ValueError: something else than -1, 0 or 1, or a discordant part of which nobody said what it is.
        """
        return self._take(self._index(difference, is_defective))

    def settle(self, difference: int, is_defective: bool | None = None) -> Decision:
        """Give the label of a part that waited, as in `update`.

        Raises:
            ValueError: as in `update`, or no part waits.
        """
        return self._settle(self._index(difference, is_defective))

    def evidence(self) -> Json:
        """What the decision rests on, for a page. `mean_saving`: cost per part, positive where the challenger saves.

        `parts_by_saving`: pairs of what a part saved (below 0: cost) and how many did.
        """
        of = sum(self._counts)
        saved = self._unit * math.fsum(value * count for value, count in zip(self._order, self._counts, strict=True))
        each = [[self._unit * value, count] for value, count in zip(self._order, self._counts, strict=True)]
        return {
            **self._shown(), "margin": self.margin, "escape_cost": self.escape_cost,
            "overkill_cost": self.overkill_cost, "mean_saving": saved / of if of else None, "parts_by_saving": each,
        }  # fmt: skip

    def to_dict(self) -> Json:
        """State for JSON; `from_dict` gives a gate that goes on to the last bit."""
        return stored(
            self.kind, alpha=self.alpha, escape_cost=self.escape_cost, overkill_cost=self.overkill_cost,
            margin=self.margin, counts=list(self._counts), waiting=self.waiting, decision=self.decision.value,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The gate that `to_dict` was called on.

        Raises:
            ValueError: the state of another gate or version, or a field that cannot be.
        """
        read = StoredState(cls.kind, state)
        costs = (read.number("escape_cost"), read.number("overkill_cost"))
        gate = cls(read.number("alpha"), *costs, read.number("margin"))
        gate._restore(read)
        return gate

    def _index(self, difference: int, is_defective: bool | None) -> int:
        sign = _sign(self.kind, difference)
        if sign and is_defective is not True and is_defective is not False:
            raise ValueError(
                f"cost gate: expected is_defective True or False where packages differ, got {is_defective!r}"
            )
        cost = self.escape_cost if is_defective else self.overkill_cost
        return self._order.index(sign * (cost / self._unit))


def _sign(kind: str, difference: int) -> int:
    if isinstance(difference, bool) or not isinstance(difference, int) or difference not in _SIGNS:
        raise ValueError(f"{kind} gate: expected a difference of -1, 0 or 1, got {difference!r}")
    return difference


def _cost(name: str, value: float) -> float:
    number = require_number("cost gate", name, value)
    if number <= 0:
        raise ValueError(f"cost gate: expected {name} above 0, got {value!r}")
    return number
