# SPDX-License-Identifier: Apache-2.0
"""Limits from cross-fitted scores of training parts, by order statistics. Pure.

`ng_limit` is a tolerance bound: with confidence c at most a stated share of sound parts score above it, whatever their
distribution, as long as later parts are like these. `ok_limit` is the same for the share that may be held for
review. Labelled defects move them: up into the gap where they lie clear of sound parts; where they do not, the OK limit
goes down, so that people look at what the detector cannot tell, up to a stated share of sound parts. Called by
`training`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import LimitsPolicy
from contracts.manifest import Limits

Floats = NDArray[np.float32]
# How far into an empty gap between sound and defective scores the NG limit moves: what lies in between is held for
# review, which costs neither an escape nor an overkill. The OK limit stays: defects that nobody has labelled score
# lower than those that were learned, and a raised limit would let them through.
_NG_SHARE_OF_GAP = 0.4
# And how far at most, in distances from the middle of sound parts to their NG limit: beyond that, what sound parts
# never show is thrown out although no labelled defect looks like it.
_FARTHEST_NG = 1.0
# "Nearly all" labelled defects: the rest may lie below and does not close the gap.
_NEARLY_ALL = 0.97
# Share of the labelled defects that are rejected without a person.
_MOST = 0.75
# With fewer labelled defects the share of them below a limit says too little to widen the review band for.
_FEWEST_TO_WIDEN = 8


def binomial_cdf(count: int, trials: int, share: float) -> float:
    """P(X ≤ count) for X ~ Binomial(trials, share)."""
    log_terms = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(share) + (trials - k) * math.log1p(-share)
        for k in range(min(count, trials) + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(term) for term in log_terms))


def allowed_above(parts: int, share: float, confidence: float) -> int | None:
    """How many of `parts` may lie above a limit that promises `share` with `confidence`; None: too few parts."""
    allowed: int | None = None
    for above in range(parts):
        # The limit stands just above the order statistic, so one more part counts as not above it.
        if binomial_cdf(above, parts, share) > 1 - confidence:
            break
        allowed = above
    return allowed


def parts_needed(share: float, confidence: float) -> int:
    """The fewest sound parts with which the highest score alone keeps the promise."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-share))


def _sound_limit(scores: Floats, share: float, confidence: float) -> tuple[float, float | None]:
    """The limit, and the share it really promises (None: nothing)."""
    ordered = np.sort(scores)
    above = allowed_above(len(ordered), share, confidence)
    if above is not None:
        # A station judges NG from the limit on, so the part that it rests on must lie below it.
        return float(np.nextafter(np.float32(ordered[-1 - above]), np.float32(np.inf))), share
    # Too few for the promise: the highest score, moved up by an exponential tail fitted to the upper quarter.
    reached = 1 - (1 - confidence) ** (1 / len(ordered))
    upper = ordered[-max(3, len(ordered) // 4) :]
    tail = float(np.mean(upper - upper[0]))
    return float(ordered[-1]) + tail * math.log(max(reached / share, 1.0)), reached


def place_limits(sound: Floats, defective: Floats, policy: LimitsPolicy) -> tuple[Limits, list[str]]:
    """Limits and notes from cross-fitted scores of sound and (possibly no) defective training parts."""
    notes: list[str] = []
    ng_limit, bound = _sound_limit(sound, policy.overkill_target_rate, policy.confidence)
    # A review share of 0 would mean no band at all; then the two limits meet.
    review_share = policy.review_target_rate if policy.review_target_rate > 0 else policy.overkill_target_rate
    ok_limit = min(_sound_limit(sound, review_share, policy.confidence)[0], ng_limit)
    rule = (
        f"order statistics of {len(sound)} cross-fitted sound scores: at most {policy.overkill_target_rate:.1%} of "
        f"sound parts NG, {review_share:.1%} above OK, confidence {policy.confidence:.0%}"
    )
    if bound is not None and bound > policy.overkill_target_rate:
        needed = parts_needed(policy.overkill_target_rate, policy.confidence)
        notes.append(
            f"limits: {len(sound)} sound parts promise an overkill of at most {bound:.1%}, "
            f"not {policy.overkill_target_rate:.1%}; {needed - len(sound)} more would"
        )
        rule += f"; too few parts, {bound:.1%} promised"
    if len(defective) > 0:
        # Nearly all labelled defects above a level that lies clear of the sound limits: use the gap.
        farthest = ng_limit + _FARTHEST_NG * (ng_limit - float(np.median(sound)))
        level = float(np.quantile(defective, 1 - _NEARLY_ALL))
        if level > ok_limit:
            ng_limit = max(ng_limit, min(farthest, ok_limit + _NG_SHARE_OF_GAP * (level - ok_limit)))
            rule += f"; NG raised into the gap below {len(defective)} labelled defects"
        if len(defective) >= _FEWEST_TO_WIDEN:
            wanted = float(np.quantile(defective, policy.escape_target_rate))
            ceiling = max(policy.review_ceiling_rate, review_share)
            lowest = min(_sound_limit(sound, ceiling, policy.confidence)[0], ok_limit)
            if wanted < ok_limit:
                ok_limit = max(wanted, lowest)
                let_through = float(np.mean(defective < ok_limit))
                rule += (
                    f"; OK lowered for {len(defective)} labelled defects, at most {ceiling:.1%} of sound parts above "
                    f"it, {let_through:.1%} of the labelled defects below it"
                )
        # What lies below most labelled defects is a person's to decide: it is held either way, but no sound part is
        # thrown away on a score that few defects share.
        certain = min(farthest, float(np.quantile(defective, 1 - _MOST)))
        if certain > ng_limit:
            ng_limit = certain
            rule += f"; NG from where {_MOST:.0%} of the labelled defects lie"
    return (
        Limits(
            ok_limit=ok_limit, ng_limit=ng_limit, overkill_bound=bound, confidence=policy.confidence,
            sound_parts=len(sound), rule=rule,
        ),
        notes,
    )  # fmt: skip
