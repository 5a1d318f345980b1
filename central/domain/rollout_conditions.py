# SPDX-License-Identifier: Apache-2.0
"""Success and error condition of a rollout, typed: facts of one station in, a sentence or nothing out.

Pure, and no parsing: a condition that cannot be read cannot exist here. Called by `domain/rollout.py`; the
sentences are shown as they are.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from central.quality.rates import Interval, binomial_interval
from contracts.vocabulary import PackageState

# The conditions are asked again with every part; a stricter confidence keeps repeated looks from crying wolf.
_LOOK_CONFIDENCE = 0.99
# Of the past only the upper end is used: 0.8 leaves one chance in ten above it.
_PAST_CONFIDENCE = 0.8


@dataclass(frozen=True)
class BakePolicy:
    """What a station must show. `bake_parts` 0: being active is enough (a product's first package).

    Shares are of parts, times in s. `min_past_parts`: below this the station's own past says nothing, and only
    `max_diverted_without_past` holds. `bake_s`: how long a station bakes at least. `bake_patience_s`: after so long
    without enough parts the rollout says that evidence is lacking; it goes on waiting, a slow shift is no error.
    `install_timeout_s`: from its order, or the last byte that came, until the package is active; `download_timeout_s`:
    the longest that coming bytes may put that off.
    """

    bake_parts: int = 60
    bake_s: float = 0.0
    bake_patience_s: float = 600.0
    install_timeout_s: float = 180.0
    download_timeout_s: float = 14_400.0
    lost_after_s: float = 120.0
    max_no_decision_share: float = 0.05
    max_diverted_factor: float = 4.0
    min_past_parts: int = 50
    max_diverted_without_past: float = 0.5

    def success_in_words(self) -> str:
        """For screens."""
        if self.bake_parts == 0:
            return "every station reports the package active (first package of the product: nothing to compare with)"
        for_s = f" and for {self.bake_s:.0f} s at least" if self.bake_s else ""
        return (
            f"every station reports the package active and judges {self.bake_parts} parts with it{for_s}, at most "
            f"{self.max_no_decision_share:.0%} without a decision; fewer parts are not enough evidence, never success"
        )

    def error_in_words(self) -> str:
        """For screens."""
        return (
            f"a station refuses, is heard and not active within {self.install_timeout_s:.0f} s of its order or of the "
            f"last byte that came (while bytes come at most {self.download_timeout_s:.0f} s), leaves more than "
            f"{self.max_no_decision_share:.0%} of parts without a decision, or diverts surely more than "
            f"{self.max_diverted_factor:g} times its own past share plus the escapes that audits found; a station that "
            f"is silent for {self.lost_after_s:.0f} s is waited for"
        )


@dataclass(frozen=True)
class Seen:
    """What is known of one station in this rollout; the defaults mean: nothing.

    Counts are of parts since the station was assigned the package. `diverted`: NG or REVIEW.
    `extra_high`: upper bound of the share of accepted parts that audits found defective under the previous
    package: those will be diverted now, and rightly so. `waits_until`: when the station's own maintenance window opens,
    which its download waits for. `bytes_done`: of the package, at the station, while it is downloading.
    """

    package_state: PackageState | None = None
    refusal: str | None = None
    heard_at: datetime | None = None
    judged: int = 0
    diverted: int = 0
    no_decision: int = 0
    past_judged: int = 0
    past_diverted: int = 0
    extra_high: float = 0.0
    waits_until: datetime | None = None
    bytes_done: int | None = None

    def heard(self) -> str:
        """Last word of the station on the package."""
        return self.package_state.value if self.package_state is not None else "nothing"


def error_in(seen: Seen, policy: BakePolicy) -> str | None:
    """What speaks surely against the package at this station; None: nothing so far."""
    if seen.refusal is not None:
        return f"the station refused: {seen.refusal}"
    if seen.package_state is PackageState.REFUSED:
        return "the station refused the package"
    total, allowed = seen.judged + seen.no_decision, allowed_diverted(seen, policy)
    if (undecided := _surely_above(seen.no_decision, total, policy.max_no_decision_share)) is not None:
        return f"{_of(seen.no_decision, total, undecided)} parts without a decision"
    if (diverted := _surely_above(seen.diverted, seen.judged, allowed)) is not None:
        return f"{_of(seen.diverted, seen.judged, diverted)} parts diverted, at most {allowed:.1%} expected"
    return None


def _surely_above(count: int, of: int, share: float) -> Interval | None:
    """The interval of a share, where all of it lies above `share`.

    A share that is not above cannot be surely so: of thousands of stations the intervals were the slowest of a look.
    """
    if count <= share * of:
        return None
    interval = binomial_interval(count, of, _LOOK_CONFIDENCE)
    return interval if interval.low > share else None


def success_in(seen: Seen, policy: BakePolicy) -> tuple[bool, str]:
    """Whether success is shown, and what was seen. Without parts it never is (but for a first package)."""
    if policy.bake_parts == 0:
        return True, "active"
    total = seen.judged + seen.no_decision
    share = seen.no_decision / total if total else 0.0
    allowed = allowed_diverted(seen, policy)
    diverted = seen.diverted / seen.judged if seen.judged else 0.0
    detail = (
        f"{seen.judged} of {policy.bake_parts} parts judged, {seen.diverted} diverted (at most {allowed:.1%} "
        f"expected), {seen.no_decision} without a decision"
    )
    is_shown = seen.judged >= policy.bake_parts and share <= policy.max_no_decision_share and diverted <= allowed
    return is_shown, detail


def lost_in(seen: Seen, policy: BakePolicy, waited_s: float, now: datetime) -> str | None:
    """Whether the station can no longer be heard, in words. A station never heard of has as long as a silent one."""
    # A clock that stands (pause) or just began holds silence against nobody.
    silent_s = waited_s if seen.heard_at is None else min(waited_s, (now - seen.heard_at).total_seconds())
    if silent_s > policy.lost_after_s:
        return f"nothing heard of the station for {silent_s:.0f} s"
    return None


def allowed_diverted(seen: Seen, policy: BakePolicy) -> float:
    """Share of diverted parts that the station's own past makes credible."""
    if seen.past_judged < policy.min_past_parts:
        return policy.max_diverted_without_past
    high = _past_high(seen.past_diverted, seen.past_judged)
    # However short its past: a station that diverted few parts must not be excused when it diverts most of them.
    credible = min(policy.max_diverted_factor * high, max(policy.max_diverted_without_past, high))
    return min(1.0, credible + seen.extra_high)


@lru_cache(maxsize=16_384)
def _past_high(diverted: int, judged: int) -> float:
    """The upper end of what a station diverted before; its past does not change while the package bakes."""
    return binomial_interval(diverted, judged, _PAST_CONFIDENCE).high


def _of(count: int, of: int, interval: Interval) -> str:
    return f"{count} of {of} ({interval.low:.1%} to {interval.high:.1%})"
