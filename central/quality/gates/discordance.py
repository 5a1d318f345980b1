# SPDX-License-Identifier: Apache-2.0
"""Which package is right where the two differ: an e-process on labelled discordant pairs.

Counts only parts on which champion and challenger gave different verdicts and of which a person, who saw neither,
said what the part is. Does not draw parts, and does not weigh an escape against an overkill: `margin.CostGate` does.
Called by `services` through `domain/rollout_gates.py`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Self

from central.quality.gates.decision import Decision, Json, StoredState, require_share, stored

# Beta(2, 2) over θ, cut at one half: of the priors tried it finds θ = .3 and .4 about as fast as any, with fewest
# late ones (docs/adr/0022). First state of the recurrence: u = ½^(a+b) / B(a, b), and half of the prior on each side.
_PRIOR: Final = 2
_FIRST_WEIGHT: Final = 0.375
_HALF: Final = 0.5
_BISECTIONS: Final = 60
# An alpha of one half or more would leave an empty interval.
_LEAST_CONFIDENT: Final = 0.999


class DiscordanceGate:
    """Sequential sign test by two mixtures of likelihood ratios, one for each side.

    θ is the chance that the challenger is the one who is right. Against θ ≥ ½ (abort side) stands the e-process

        E(right, wrong) = ∫ θ^right (1-θ)^wrong π(θ) dθ / ½^(right + wrong),

    π a Beta(2, 2) truncated to θ < ½; against θ ≤ ½ (promote side) its mirror image. Aborts or promotes when the one or
    the other reaches 1/alpha. Method: mixture of Robbins (Annals of Mathematical Statistics 1970), truncated to one
    side; Ville's inequality; see Ramdas, Grünwald, Vovk and Shafer (Statistical Science 2023), and Shafer (Journal of
    the Royal Statistical Society A 2021) for what an e-value means as a bet.

    Errors: a challenger with θ ≥ ½ is ever aborted with chance alpha at most, one with θ ≤ ½ ever promoted with chance
    alpha at most, looked at after every label, for ever. Assumes that θ stays on that side given all that came before.
    Labels in an order drawn by chance among all discordant parts fulfil that; labels in the order in which easy or
    urgent parts are judged do not.

    Once decided it stays decided: later labels are checked, then ignored.
    """

    kind: Final = "discordance"

    def __init__(self, alpha: float = 0.05) -> None:
        """Args: alpha: chance of a false abort, and of a false promotion; each, strictly between 0 and 1."""
        self.alpha: Final = require_share("discordance gate", "alpha", alpha)
        self._log_limit: Final = -math.log(self.alpha)
        self._limit: Final = 1.0 / self.alpha
        self.right = 0
        self.wrong = 0
        self.decision = Decision.CONTINUE
        # u = ½^(A+B) / B(A, B) and the chance of θ < ½ under Beta(A, B), A = 2 + right, B = 2 + wrong.
        self._weight = _FIRST_WEIGHT
        self._below = _HALF

    def update(self, challenger_right: bool) -> Decision:
        """Take in one labelled discordant pair.

        Args:
            challenger_right: what the person said agrees with the challenger's verdict, not with the champion's.

        Raises:
            ValueError: not a bool. A pair in which both are wrong or both right is not discordant: leave it out.
        """
        if challenger_right is not True and challenger_right is not False:
            raise ValueError(f"discordance gate: expected True or False, got {challenger_right!r}")
        if self.decision is not Decision.CONTINUE:
            return self.decision
        # I(A+1, B) = I(A, B) - u/A and I(A, B+1) = I(A, B) + u/B at one half (DLMF 8.17.20 and 21). Rounding adds up
        # to 1e-16 a label, and matters to no decision: both e-values together stay below 2/alpha until one decides.
        both = self.right + self.wrong + 2 * _PRIOR
        if challenger_right:
            ahead = self.right + _PRIOR
            self._below -= self._weight / ahead
            self.right += 1
        else:
            ahead = self.wrong + _PRIOR
            self._below += self._weight / ahead
            self.wrong += 1
        self._weight *= _HALF * both / ahead
        limit = self._limit * self._weight * _HALF / _FIRST_WEIGHT
        if self._below >= limit:
            self.decision = Decision.ABORT
        elif 1.0 - self._below >= limit:
            self.decision = Decision.PROMOTE
        return self.decision

    @property
    def labels(self) -> int:
        """Labelled discordant pairs that the decision rests on."""
        return self.right + self.wrong

    @property
    def log_evidence(self) -> tuple[float, float]:
        """Natural logarithm of the e-value to abort and of the one to promote. Decides at -ln(alpha)."""
        scale = math.log(_FIRST_WEIGHT / _HALF) - math.log(self._weight)
        return scale + _log(self._below), scale + _log(1.0 - self._below)

    def interval(self) -> tuple[float, float]:
        """θ with confidence 1 - 2 alpha at all times at once (Robbins 1970; prior Beta(2, 2)); (0, 1) without labels.

        Alpha for each side, as in the decision: a gate that aborted or promoted has one half outside its interval.
        """
        if not self.labels:
            return 0.0, 1.0
        top = self.right / self.labels
        return self._edge(top, 0.0), self._edge(top, 1.0)

    def evidence(self) -> Json:
        """What the decision rests on, for a page: counts, estimate with interval, e-values."""
        log_abort, log_promote = self.log_evidence
        low, high = self.interval()
        return {
            "gate": self.kind, "decision": self.decision.value, "alpha": self.alpha, "labels": self.labels,
            "challenger_right": self.right, "champion_right": self.wrong,
            "share_right": self.right / self.labels if self.labels else None, "share_low": low, "share_high": high,
            "log_e_abort": log_abort, "log_e_promote": log_promote, "log_e_needed": self._log_limit,
        }  # fmt: skip

    def to_dict(self) -> Json:
        """State for JSON; `from_dict` gives a gate that goes on to the last bit."""
        return stored(
            self.kind, alpha=self.alpha, right=self.right, wrong=self.wrong, decision=self.decision.value,
            weight=self._weight, below=self._below,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The gate that `to_dict` was called on.

        Raises:
            ValueError: the state of another gate or version, a field that cannot be, or sums that do not fit counts.
        """
        read = StoredState(cls.kind, state)
        gate = cls(read.number("alpha"))
        gate.right, gate.wrong, gate.decision = read.count("right"), read.count("wrong"), read.decision()
        gate._weight, gate._below = read.number("weight"), read.number("below")
        ahead, behind = gate.right + _PRIOR, gate.wrong + _PRIOR
        log_beta = math.lgamma(ahead) + math.lgamma(behind) - math.lgamma(ahead + behind)
        fitting = -(ahead + behind) * math.log(2.0) - log_beta
        if gate._weight <= 0 or abs(math.log(gate._weight) - fitting) > 1e-6 or not -1e-9 < gate._below < 1 + 1e-9:
            raise ValueError(f"{read.name}: expected sums that fit {gate.right} right and {gate.wrong} wrong labels")
        return gate

    def _edge(self, inside: float, outside: float) -> float:
        """End of the interval between a value inside and the end of the scale."""
        ahead, behind = self.right + _PRIOR, self.wrong + _PRIOR
        log_mixture = math.lgamma(ahead) + math.lgamma(behind) - math.lgamma(ahead + behind) + math.log(6.0)
        least = log_mixture + math.log(min(2.0 * self.alpha, _LEAST_CONFIDENT))

        def is_inside(share: float) -> bool:
            return self.right * _log(share) + self.wrong * _log(1.0 - share) > least

        if is_inside(outside):
            return outside
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2.0
            if is_inside(middle):
                inside = middle
            else:
                outside = middle
        return outside


def _log(value: float) -> float:
    # A far tail is 0 or a rounding below it; what is shown then is "next to nothing", not an exception.
    return math.log(max(value, 1e-300))
