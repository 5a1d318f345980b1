# SPDX-License-Identifier: Apache-2.0
"""Limits from cross-fitted scores of training parts, by order statistics. Pure.

`ng_limit` is a tolerance bound (`promises`): with confidence c at most a stated share of sound parts score above it,
whatever their distribution, as long as later parts are like these. It counts physical parts, each by its highest
picture. `ok_limit` is placed the same way for the share of pictures that may be held for review, which is a load and
no promise. Labelled defects move them: up into the gap where they lie clear of sound parts; where they do not, the OK
limit goes down, so that people look at what the detector cannot tell, up to a stated share of sound pictures. What the
limits promise in the end stands in the manifest. Called by `training`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import LimitsPolicy
from contracts.manifest import Limits, Promise
from models.limits.promises import at_most, by_part, promise_escapes, promise_overkill, tolerance_rank
from models.limits.score_scale import fit_scale, upper_tail

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


def _sound_limit(scores: Floats, share: float, confidence: float) -> tuple[float, int]:
    """The limit, and how many of the scores may lie above it by the order statistic that it rests on."""
    ordered = np.sort(scores)
    rank = tolerance_rank(len(ordered), share, confidence)
    if rank is not None:
        # A station judges NG from the limit on, so the part that it rests on must lie below it.
        return float(np.nextafter(np.float32(ordered[-1 - rank]), np.float32(np.inf))), rank
    # Too few for the promise: the highest score, moved up by an exponential tail fitted to the upper quarter. What the
    # highest score alone promises still holds, and no more is promised.
    reached = 1 - (1 - confidence) ** (1 / len(ordered))
    highest = float(np.nextafter(np.float32(ordered[-1]), np.float32(np.inf)))
    return highest + upper_tail(ordered) * math.log(max(reached / share, 1.0)), 0


def place_limits(
    sound: Floats,
    defective: Floats,
    policy: LimitsPolicy,
    *,
    sound_groups: Sequence[str] | None = None,
    defective_groups: Sequence[str] | None = None,
) -> tuple[Limits, list[str]]:
    """Limits and notes from cross-fitted scores of sound and (possibly no) defective training pictures.

    Args:
        sound: scores [n] of the pictures of sound parts, n ≥ 1, by detectors that had not seen the part.
        defective: scores [m] of the pictures of defective parts, likewise.
        policy: what to promise.
        sound_groups: the physical part of each sound picture; without them each picture is a part of its own.
        defective_groups: the physical part of each defective picture.
    """
    parts = by_part(sound, sound_groups, is_highest=True)
    ng_limit, rank = _sound_limit(parts, policy.overkill_target_rate, policy.confidence)
    # A review share of 0 would mean no band at all; then the two limits meet.
    review_share = policy.review_target_rate if policy.review_target_rate > 0 else policy.overkill_target_rate
    ok_limit = min(_sound_limit(sound, review_share, policy.review_confidence)[0], ng_limit)
    overkill = promise_overkill(
        parts=len(parts), pictures=len(sound), beyond=rank,
        asked_rate=policy.overkill_target_rate, confidence=policy.confidence,
    )  # fmt: skip
    rule = (
        f"order statistics of {len(parts)} sound parts, {len(sound)} cross-fitted scores: at most "
        f"{policy.overkill_target_rate:.1%} of sound parts NG, confidence {policy.confidence:.0%}; "
        f"{review_share:.1%} of sound pictures above OK, {policy.review_confidence:.0%}"
    )
    if overkill.kept_rate > policy.overkill_target_rate:
        rule += f"; too few parts, {at_most(overkill.kept_rate)} promised"
    is_lowered = False
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
            lowest = min(_sound_limit(sound, ceiling, policy.review_confidence)[0], ok_limit)
            if wanted < ok_limit:
                is_lowered = True
                ok_limit = max(wanted, lowest)
                let_through = float(np.mean(defective < ok_limit))
                rule += (
                    f"; OK lowered for {len(defective)} labelled defects, at most {ceiling:.1%} of sound pictures "
                    f"above it, {let_through:.1%} of the labelled defects below it"
                )
        # What lies below most labelled defects is a person's to decide: it is held either way, but no sound part is
        # thrown away on a score that few defects share.
        certain = min(farthest, float(np.quantile(defective, 1 - _MOST)))
        if certain > ng_limit:
            ng_limit = certain
            rule += f"; NG from where {_MOST:.0%} of the labelled defects lie"
    escapes = _escapes(defective, defective_groups, ok_limit, policy, is_lowered=is_lowered)
    limits = Limits(
        ok_limit=ok_limit, ng_limit=ng_limit, overkill_bound=overkill.kept_rate, confidence=policy.confidence,
        sound_parts=len(parts), rule=rule, overkill=overkill, escapes=escapes, sound_scale=fit_scale(parts),
    )  # fmt: skip
    return limits, [f"limits: {promise.statement}" for promise in (overkill, escapes) if promise is not None]


def _escapes(
    defective: Floats, groups: Sequence[str] | None, ok_limit: float, policy: LimitsPolicy, *, is_lowered: bool
) -> Promise | None:
    """What the OK limit promises of defective parts; a part passes when one of its pictures would."""
    if len(defective) == 0:
        return None
    lowest = by_part(defective, groups, is_highest=False)
    passing = int((lowest < ok_limit).sum())
    if is_lowered:
        # The limit was chosen by these very scores, at their quantile or at a level of sound parts above it. Counting
        # at least as many as the quantile lets pass makes the bound hold for that choice too (ADR 0016).
        passing = max(passing, math.ceil(policy.escape_target_rate * (len(defective) - 1)))
    return promise_escapes(
        parts=len(lowest), pictures=len(defective), beyond=min(passing, len(lowest)),
        asked_rate=policy.escape_target_rate, confidence=policy.confidence,
    )  # fmt: skip
