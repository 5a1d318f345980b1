# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.vocabulary import Disposition, Verdict, VerdictCause
from edge_agent.decision import decide, dispose, no_decision
from edge_agent.recipes.recipe import Recipe

RECIPE = Recipe(deadline_ms=100)

TABLE = [
    # score, ok_limit, ng_limit, elapsed, verdict, cause, disposition
    (0.1, 0.3, 0.6, 10.0, "OK", "SCORE", "PASSED"),
    (0.3, 0.3, 0.6, 10.0, "REVIEW", "SCORE", "HELD"),
    (0.5999, 0.3, 0.6, 10.0, "REVIEW", "SCORE", "HELD"),
    (0.6, 0.3, 0.6, 10.0, "NG", "SCORE", "REJECTED"),
    (9.9, 0.3, 0.6, 10.0, "NG", "SCORE", "REJECTED"),
    (0.29, 0.3, 0.3, 10.0, "OK", "SCORE", "PASSED"),
    (0.3, 0.3, 0.3, 10.0, "NG", "SCORE", "REJECTED"),
    (0.1, 0.3, 0.6, 100.0, "OK", "SCORE", "PASSED"),
    (0.1, 0.3, 0.6, 100.1, "NO_DECISION", "LATE", "HELD"),
    (9.9, 0.3, 0.6, 100.1, "NO_DECISION", "LATE", "HELD"),
    (0.1, 0.3, 0.6, math.nan, "NO_DECISION", "LATE", "HELD"),
    (math.nan, 0.3, 0.6, 10.0, "NO_DECISION", "INFERENCE_ERROR", "HELD"),
    (-math.inf, 0.3, 0.6, 10.0, "NO_DECISION", "INFERENCE_ERROR", "HELD"),
    (0.1, math.nan, 0.6, 10.0, "NO_DECISION", "INFERENCE_ERROR", "HELD"),
    (0.1, 0.3, math.nan, 10.0, "NO_DECISION", "INFERENCE_ERROR", "HELD"),
    (0.1, 0.6, 0.3, 10.0, "NO_DECISION", "INFERENCE_ERROR", "HELD"),
]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_decision_follows_the_table(row: tuple[float, float, float, float, str, str, str]) -> None:
    score, ok_limit, ng_limit, elapsed_ms, verdict, cause, disposition = row
    decision = decide(score, ok_limit=ok_limit, ng_limit=ng_limit, elapsed_ms=elapsed_ms, recipe=RECIPE)
    assert (decision.verdict, decision.cause, decision.disposition) == (verdict, cause, disposition)


def test_review_passes_only_where_the_recipe_says_so() -> None:
    assert dispose(Verdict.REVIEW, Recipe(pass_review=True)) is Disposition.PASSED
    assert dispose(Verdict.REVIEW, Recipe()) is Disposition.HELD
    assert dispose(Verdict.NO_DECISION, Recipe(pass_review=True)) is Disposition.HELD


def test_no_decision_refuses_the_cause_of_a_verdict() -> None:
    with pytest.raises(ValueError, match="SCORE"):
        no_decision(VerdictCause.SCORE)


_ANY = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None)
@given(score=_ANY, ok_limit=_ANY, ng_limit=_ANY, elapsed_ms=_ANY, pass_review=st.booleans())
def test_no_part_passes_without_a_score_below_the_limit_in_time(
    score: float, ok_limit: float, ng_limit: float, elapsed_ms: float, *, pass_review: bool
) -> None:
    recipe = Recipe(deadline_ms=100, pass_review=pass_review)
    decision = decide(score, ok_limit=ok_limit, ng_limit=ng_limit, elapsed_ms=elapsed_ms, recipe=recipe)
    if decision.disposition is Disposition.PASSED:
        assert elapsed_ms <= 100
        assert score < (ng_limit if pass_review else ok_limit)
    assert (decision.verdict is Verdict.NO_DECISION) == (decision.cause is not VerdictCause.SCORE)


@settings(deadline=None)
@given(low=st.floats(-1e6, 1e6), high=st.floats(-1e6, 1e6), ok_limit=st.floats(-1e6, 1e6), band=st.floats(0, 1e6))
def test_a_larger_score_is_never_judged_milder(low: float, high: float, ok_limit: float, band: float) -> None:
    low, high = sorted((low, high))
    order = [Verdict.OK, Verdict.REVIEW, Verdict.NG]
    verdicts = [
        decide(score, ok_limit=ok_limit, ng_limit=ok_limit + band, elapsed_ms=1, recipe=RECIPE).verdict
        for score in (low, high)
    ]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])
