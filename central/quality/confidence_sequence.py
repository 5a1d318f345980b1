# SPDX-License-Identifier: Apache-2.0
"""An interval that may be looked at after every audit, as often as one likes.

An interval of `rates.py` is right in 95 of 100 looks; who looks at it after each audit and acts when it first shows
something bad is wrong far more often. This one is right at *all* looks together with the stated confidence. It costs
width, so the single look of a report uses `rates.py`. Pure; knows no store and no alarm. For the number that is watched
continuously, by the services of central.

Method: for each share p the likelihood of the outcomes, mixed over a Beta prior, divided by their likelihood at p, is
a martingale that starts at 1 while p is the truth; it ever reaches 1/alpha with chance alpha at most (Robbins 1970,
"Statistical methods related to the law of the iterated logarithm"; Ville's inequality). The interval holds every p
that has not been reached. It needs no fixed number of audits, and any rule when to stop is allowed.

Assumed: each audit is defective with the same chance given those before it, as in an equal-chance draw from parts that
do not change. When they do change (package, closed alarm), a new sequence is begun. Audits drawn with unequal chances
are thinned first (`equal_chance`), which leaves the random floor and loses most of the share by risk.
"""

import json
import math
from collections.abc import Callable
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from central.quality.rates import Interval

METHOD_SEQUENCE: Final = "beta-binomial confidence sequence"
_VERSION: Final = 1
_END: Final = 1e-12


class ConfidenceSequence:
    """Time-uniform interval of a share. Take outcomes in with `update` or `update_many`, look with `interval`.

    Its whole state is four numbers and two counts, so a restart goes on exactly where it stood.
    """

    def __init__(self, confidence: float = 0.95, prior_defective: float = 0.5, prior_good: float = 20.0) -> None:
        """Begin with nothing known.

        Args:
            confidence: chance that every interval ever shown holds the truth, at least.
            prior_defective: first parameter of the Beta prior.
            prior_good: second. The prior changes where the interval is narrow, never what it promises; the default
                is narrowest for shares of a few hundredths and below.

        Raises:
            ValueError: a confidence outside 0 … 1 or a parameter that is not above 0.
        """
        if not 0.0 < confidence < 1.0:
            msg = f"confidence sequence: expected a confidence between 0 and 1, got {confidence}"
            raise ValueError(msg)
        if not (0.0 < prior_defective < math.inf and 0.0 < prior_good < math.inf):
            msg = f"confidence sequence: expected prior parameters above 0, got {prior_defective}, {prior_good}"
            raise ValueError(msg)
        self._confidence = confidence
        self._prior = (prior_defective, prior_good)
        self._defective = 0
        self._good = 0
        self._low, self._high = 0.0, 1.0

    @property
    def audits(self) -> int:
        """How many outcomes were taken in."""
        return self._defective + self._good

    @property
    def defective(self) -> int:
        """How many of them were defective."""
        return self._defective

    def update(self, is_defective: bool) -> Interval:
        """Take in one outcome and look. Looks are free: the promise holds for all of them together."""
        if is_defective:
            self._defective += 1
        else:
            self._good += 1
        return self.interval()

    def update_many(self, defective: npt.NDArray[np.bool_]) -> Interval:
        """Take in bool [n], in the order in which they were judged, and look once, after the last.

        Raises:
            ValueError: not one row of true or false.
        """
        given = np.asarray(defective)
        if given.ndim != 1 or (given.size and given.dtype != np.bool_):
            msg = f"confidence sequence: expected a row of true or false, got {given.dtype} of shape {given.shape}"
            raise ValueError(msg)
        found = int(np.count_nonzero(given))
        self._defective += found
        self._good += given.size - found
        return self.interval()

    def interval(self) -> Interval:
        """What is known now: never wider than at an earlier look; estimate None without outcomes.

        Should outcomes contradict all earlier looks, which under the assumptions happens with a chance of
        1 - confidence at most, the present interval is given alone: the parts have probably changed.
        """
        if self.audits == 0:
            return Interval(0.0, None, 1.0, METHOD_SEQUENCE)
        low, high = self._ends()
        self._low, self._high = max(low, self._low), min(high, self._high)
        if self._low > self._high:
            self._low, self._high = low, high
        estimate = min(max(self._defective / self.audits, self._low), self._high)
        return Interval(self._low, estimate, self._high, METHOD_SEQUENCE)

    def holds(self, share: float) -> bool:
        """Whether the outcomes so far, taken alone, leave this share possible.

        Raises:
            ValueError: a share outside 0 … 1.
        """
        if not 0.0 <= share <= 1.0:
            msg = f"confidence sequence: expected a share in 0 … 1, got {share}"
            raise ValueError(msg)
        wealth = log_wealth(self._defective, self._good, share, self._prior)
        return bool(wealth < -math.log1p(-self._confidence))

    def to_bytes(self) -> bytes:
        """State as JSON; floats keep every bit."""
        return json.dumps(
            {
                "version": _VERSION,
                "confidence": self._confidence,
                "prior": self._prior,
                "defective": self._defective,
                "good": self._good,
                "seen": [self._low, self._high],
            }
        ).encode()

    @classmethod
    def from_bytes(cls, state: bytes) -> Self:
        """The sequence that `to_bytes` wrote.

        Raises:
            ValueError: not such a state; begin a new sequence.
        """
        try:
            read = json.loads(state)
            sequence = cls(read["confidence"], *read["prior"])
            sequence._defective, sequence._good = int(read["defective"]), int(read["good"])
            sequence._low, sequence._high = map(float, read["seen"])
            is_ours = read["version"] == _VERSION and min(sequence._defective, sequence._good) >= 0
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(_not_a_state(state)) from error
        if not is_ours:
            raise ValueError(_not_a_state(state))
        return sequence

    def _ends(self) -> tuple[float, float]:
        bound = -math.log1p(-self._confidence)
        estimate = self._defective / self.audits

        def excess(share: float) -> float:
            return float(log_wealth(self._defective, self._good, share, self._prior)) - bound

        low = 0.0 if self._defective == 0 else _crossing(excess, _END, estimate)
        high = 1.0 if self._good == 0 else _crossing(excess, 1.0 - _END, estimate)
        return low, high


def log_wealth(
    defective: npt.ArrayLike, good: npt.ArrayLike, share: float, prior: tuple[float, float] = (0.5, 20.0)
) -> npt.NDArray[np.float64]:
    """Log of the mixed likelihood over the likelihood at `share`, for counts of any equal shape.

    A share is held while this stays below log(1/alpha).
    """
    found, sound = np.asarray(defective, dtype=np.float64), np.asarray(good, dtype=np.float64)
    mixed = special.betaln(prior[0] + found, prior[1] + sound) - special.betaln(*prior)
    alone = special.xlogy(found, share) + special.xlog1py(sound, -share)
    wealth: npt.NDArray[np.float64] = mixed - alone
    return wealth


def equal_chance(
    inclusion_probability: npt.NDArray[np.float64], rng: np.random.Generator, least: float | None = None
) -> npt.NDArray[np.bool_]:
    """Which audits of a draw with unequal chances to keep, so that all kept ones had the same chance.

    Args:
        inclusion_probability: float [n], in (0, 1], of one draw.
        rng: decides; a part of chance pi is kept with chance least/pi. To be drawn once for each audit and stored, not
            at each look.
        least: chance of the part least likely to be drawn, drawn or not; default the least of those given.

    Returns:
        bool [n].

    Raises:
        ValueError: chances outside (0, 1], or below `least`.
    """
    chance = np.asarray(inclusion_probability, dtype=np.float64)
    if chance.ndim != 1 or not np.all((chance > 0.0) & (chance <= 1.0)):
        msg = f"thinning: expected inclusion probabilities in (0, 1], got an array of shape {chance.shape} with others"
        raise ValueError(msg)
    if chance.size == 0:
        return np.empty(0, dtype=np.bool_)
    common = float(chance.min()) if least is None else least
    if not 0.0 < common <= float(chance.min()) * (1.0 + 1e-9):
        msg = f"thinning: expected a least chance above 0 and at most {chance.min()}, got {common}"
        raise ValueError(msg)
    # The small step keeps a part of exactly that chance, whatever the division rounds to.
    kept: npt.NDArray[np.bool_] = rng.random(chance.size) < common / chance * (1.0 + 1e-12)
    return kept


def _crossing(excess: Callable[[float], float], end: float, inside: float) -> float:
    """Where the excess passes 0 between an end and a share that is held; the end itself where it is held too."""
    start = min(max(inside, _END), 1.0 - _END)
    if excess(end) <= 0.0 or excess(start) >= 0.0:
        return 0.0 if end < inside else 1.0
    return float(optimize.brentq(excess, min(end, start), max(end, start), xtol=1e-13))


def _not_a_state(state: bytes) -> str:
    return f"confidence sequence: expected a state of version {_VERSION}, got {state[:60]!r}; begin anew"
