# SPDX-License-Identifier: Apache-2.0
"""The promise of the limits, by simulation and by table."""

import numpy as np
import pytest

from contracts.jobs import LimitsPolicy
from contracts.vocabulary import Verdict
from edge_agent.decision import decide
from edge_agent.recipes.recipe import Recipe
from models.limits.placing import place_limits
from models.measuring.figures import average_precision, image_auroc, recall_at_overkill
from models.packages.reading import verdict_of

NONE = np.zeros(0, np.float32)


@pytest.mark.parametrize("parts", [240, 400, 1000])
def test_overkill_promise_holds_as_often_as_stated(parts: int) -> None:
    rng = np.random.default_rng(parts)
    policy = LimitsPolicy(overkill_target_rate=0.01, confidence=0.9)
    kept = 0
    for _ in range(400):
        # A skewed distribution: the bound must not rest on a normal one.
        limits, _ = place_limits(rng.exponential(1, parts).astype(np.float32), NONE, policy)
        kept += np.exp(-limits.ng_limit) <= 0.01
    # 400 trials at 0.9: three standard deviations below are 0.855.
    assert kept / 400 >= 0.855


def test_review_share_of_sound_parts_holds_on_average() -> None:
    rng = np.random.default_rng(1)
    policy = LimitsPolicy(review_target_rate=0.02)
    above = [
        np.exp(-place_limits(rng.exponential(1, 400).astype(np.float32), NONE, policy)[0].ok_limit) for _ in range(200)
    ]
    assert float(np.mean(above)) <= 0.02


def test_too_few_parts_say_how_many_are_missing_and_what_is_promised() -> None:
    limits, notes = place_limits(np.linspace(0, 1, 50, dtype=np.float32), NONE, LimitsPolicy())
    assert limits.overkill_bound == pytest.approx(1 - 0.05 ** (1 / 50))
    assert limits.ng_limit > 1
    assert any("249 more parts would promise 1 %" in note for note in notes)


def _sound(parts: int = 300) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(2).normal(0, 1, parts).astype(np.float32)


@pytest.mark.parametrize("defective_at", [-5.0, 0.5, 50.0])
def test_labelled_defects_never_make_more_sound_parts_ng(defective_at: float) -> None:
    alone, _ = place_limits(_sound(), NONE, LimitsPolicy())
    labelled, _ = place_limits(_sound(), np.full(30, defective_at, np.float32), LimitsPolicy())
    assert labelled.ng_limit >= alone.ng_limit
    assert labelled.ok_limit <= labelled.ng_limit


def test_review_band_widens_for_defects_that_score_low_until_few_escape() -> None:
    sound = _sound()
    alone, _ = place_limits(sound, NONE, LimitsPolicy())
    low = np.linspace(alone.ok_limit - 0.4, alone.ok_limit + 2, 60).astype(np.float32)
    limits, _ = place_limits(sound, low, LimitsPolicy())
    assert limits.ok_limit < alone.ok_limit
    assert (low < limits.ok_limit).mean() <= 0.05
    assert (low < alone.ok_limit).mean() > 0.15
    assert "OK lowered for 60 labelled defects" in limits.rule


@pytest.mark.parametrize("parts", [100, 300, 1000])
def test_review_band_never_widens_beyond_its_ceiling(parts: int) -> None:
    rng = np.random.default_rng(parts)
    hopeless = np.full(30, -50, np.float32)
    kept = 0
    for _ in range(200):
        limits, _ = place_limits(rng.exponential(1, parts).astype(np.float32), hopeless, LimitsPolicy())
        kept += np.exp(-limits.ok_limit) <= 0.1
    # 200 trials at 0.9: three standard deviations below are 0.836.
    assert kept / 200 >= 0.836


def test_few_labelled_defects_widen_nothing() -> None:
    alone, _ = place_limits(_sound(), NONE, LimitsPolicy())
    limits, _ = place_limits(_sound(), np.full(7, -1, np.float32), LimitsPolicy())
    assert limits.ok_limit == alone.ok_limit


def test_ng_begins_where_most_labelled_defects_lie() -> None:
    alone, _ = place_limits(_sound(), NONE, LimitsPolicy())
    clear = np.linspace(alone.ng_limit + 0.5, alone.ng_limit + 2.5, 41).astype(np.float32)
    mixed = np.concatenate([clear, np.full(4, alone.ng_limit - 0.2, np.float32)])
    limits, _ = place_limits(_sound(), mixed, LimitsPolicy())
    # A quarter of the labelled defects may lie below NG; they are held for review, not passed.
    assert (mixed > limits.ng_limit).mean() == pytest.approx(0.75, abs=0.03)
    assert (mixed > limits.ok_limit).all()


def test_defects_far_away_do_not_take_the_limits_with_them() -> None:
    sound = _sound()
    alone, _ = place_limits(sound, NONE, LimitsPolicy())
    limits, _ = place_limits(sound, np.full(30, 1000, np.float32), LimitsPolicy())
    assert limits.ok_limit == alone.ok_limit
    assert alone.ng_limit < limits.ng_limit <= alone.ng_limit + (alone.ng_limit - np.median(sound)) + 1e-3


def test_separated_defects_lie_above_the_ok_limit() -> None:
    rng = np.random.default_rng(2)
    defective = rng.normal(20, 1, 40).astype(np.float32)
    limits, _ = place_limits(rng.normal(0, 1, 300).astype(np.float32), defective, LimitsPolicy())
    assert (defective > limits.ok_limit).all()


def test_figures_agree_with_worked_examples() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8], np.float32)
    is_defective = np.array([False, False, True, True])
    assert image_auroc(scores, is_defective) == pytest.approx(0.75)
    assert average_precision(scores, is_defective) == pytest.approx(0.8333, abs=1e-3)
    assert recall_at_overkill(scores, is_defective, 0.01) == pytest.approx(0.5)
    assert image_auroc(np.ones(4, np.float32), is_defective) == pytest.approx(0.5)
    assert average_precision(np.ones(4, np.float32), is_defective) == pytest.approx(0.5)
    assert image_auroc(scores[:2], is_defective[:2]) is None
    assert average_precision(scores[:2], is_defective[:2]) is None
    assert recall_at_overkill(scores[:2], is_defective[:2], 0.01) is None


def test_score_that_is_no_number_is_no_decision() -> None:
    limits, _ = place_limits(np.linspace(0, 1, 300, dtype=np.float32), NONE, LimitsPolicy())
    assert verdict_of(float("nan"), limits) is Verdict.NO_DECISION


def test_gate_judges_at_the_limits_as_a_station_does() -> None:
    limits, _ = place_limits(np.linspace(0, 1, 300, dtype=np.float32), NONE, LimitsPolicy())
    for score in (limits.ok_limit - 1, limits.ok_limit, limits.ng_limit - 1e-4, limits.ng_limit, limits.ng_limit + 1):
        told = decide(score, ok_limit=limits.ok_limit, ng_limit=limits.ng_limit, elapsed_ms=1.0, recipe=Recipe())
        assert verdict_of(score, limits) is told.verdict
