# SPDX-License-Identifier: Apache-2.0
"""The decision: score and limits to verdict, verdict and recipe to disposition. Pure.

Knows no clock, no camera and no session. The rule of the house: whatever is not plainly OK never passes by
itself; doubt and failure hold the part. Called by the loop only.
"""

import math
from dataclasses import dataclass

from contracts.vocabulary import Disposition, Verdict, VerdictCause
from edge_agent.recipes.recipe import Recipe


@dataclass(frozen=True)
class Decision:
    """What the station says of a part, why, and what the line should do with it."""

    verdict: Verdict
    cause: VerdictCause
    disposition: Disposition


def decide(score: float, *, ok_limit: float, ng_limit: float, elapsed_ms: float, recipe: Recipe) -> Decision:
    """Judge one part.

    OK means score < ok_limit, NG score ≥ ng_limit, REVIEW in between. A score that is not a finite number, limits
    that are not, or an answer after the deadline are no decision.

    Args:
        score: the detector's output, larger is more anomalous.
        ok_limit: where OK ends.
        ng_limit: where NG begins, ≥ ok_limit.
        elapsed_ms: capture → now.
        recipe: deadline and what happens to doubtful parts.
    """
    if not (math.isfinite(score) and math.isfinite(ok_limit) and math.isfinite(ng_limit) and ok_limit <= ng_limit):
        return no_decision(VerdictCause.INFERENCE_ERROR)
    # "not ≤" and not ">": a NaN duration must not count as in time.
    if not elapsed_ms <= recipe.deadline_ms:
        return no_decision(VerdictCause.LATE)
    verdict = Verdict.NG if score >= ng_limit else Verdict.OK if score < ok_limit else Verdict.REVIEW
    return Decision(verdict, VerdictCause.SCORE, dispose(verdict, recipe))


def no_decision(cause: VerdictCause) -> Decision:
    """No verdict on this part, for `cause`: it is held.

    Raises:
        ValueError: `cause` is SCORE, which always comes with a verdict.
    """
    if cause is VerdictCause.SCORE:
        msg = "no decision: expected a cause other than SCORE"
        raise ValueError(msg)
    return Decision(Verdict.NO_DECISION, cause, Disposition.HELD)


def dispose(verdict: Verdict, recipe: Recipe) -> Disposition:
    """What the line should do with a part of this verdict. Only OK passes, and REVIEW where the recipe says so."""
    if verdict is Verdict.OK or (verdict is Verdict.REVIEW and recipe.pass_review):
        return Disposition.PASSED
    return Disposition.REJECTED if verdict is Verdict.NG else Disposition.HELD
