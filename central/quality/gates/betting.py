# SPDX-License-Identifier: Apache-2.0
"""A mixture of bets against "the mean is at most so much", for observations with few possible values.

The wealth of a bettor who stakes the share λ of the way to ruin on every observation is an e-process against every
mean up to the bound, and so is the mean wealth of several bettors (Waudby-Smith and Ramdas, Journal of the Royal
Statistical Society B 2024; Shafer 2021). With few values it depends on their counts alone, so a gate need keep nothing
else: no sum drifts, and order does not matter. Knows neither parts nor decisions. Called by `margin.py` and
`latency.py`.
"""

import math
from collections.abc import Sequence
from typing import Final

# Shares of the largest stake that cannot ruin. Geometric, because the best stake is near margin ÷ discordance, which
# spans decades; below .95, so that one bad part never makes all earlier ones worthless.
_STAKES: Final = tuple(0.02 * (0.95 / 0.02) ** (step / 11) for step in range(12))


class Bets:
    """Bets against "E[value | past] ≤ bound", or against "≥ bound" with `is_from_below` False."""

    def __init__(self, values: Sequence[float], bound: float, *, is_from_below: bool = True) -> None:
        """Args: values: all that can come, in units of the bound. The bound lies strictly between the ends.

        Raises:
            ValueError: a bound at or beyond the ends: no bet is possible.
        """
        sign = 1.0 if is_from_below else -1.0
        gains = [sign * (value - bound) for value in values]
        if not min(gains) < 0.0 < max(gains):
            raise ValueError(f"bets: expected a bound between {min(values)} and {max(values)}, got {bound}")
        stakes = [share / -min(gains) for share in _STAKES]
        self._logs: Final = tuple(tuple(math.log1p(stake * gain) for stake in stakes) for gain in gains)
        self._start: Final = -math.log(len(stakes))
        # No observation multiplies the wealth by more than the best of the bettors gains with it.
        self.most: Final = tuple(max(0.0, *logs) for logs in self._logs)

    def log_wealth(self, counts: Sequence[int]) -> float:
        """Natural logarithm of the mean wealth after so many of each value, from a wealth of 1."""
        sums = [self._start] * len(_STAKES)
        for count, logs in zip(counts, self._logs, strict=True):
            if count:
                sums = [total + count * log for total, log in zip(sums, logs, strict=True)]
        top = max(sums)
        return top + math.log(sum([math.exp(total - top) for total in sums]))
