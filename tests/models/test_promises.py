# SPDX-License-Identifier: Apache-2.0
"""The promises of the limits: by table against the literature, and by simulation with ties and grouped parts."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from contracts.jobs import LimitsPolicy
from contracts.manifest import ScoreScale
from contracts.vocabulary import DetectorKind, PartUse
from models.clock import SystemClock
from models.limits.placing import place_limits
from models.limits.promises import (
    at_most,
    binomial_cdf,
    by_part,
    needed_parts,
    promise_escapes,
    promise_overkill,
    tolerance_rank,
    upper_bound,
)
from models.limits.score_scale import fit_scale
from models.packages.reading import open_package
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import make_job, write_parts

Floats = NDArray[np.float32]
NONE = np.zeros(0, np.float32)
TRIALS = 300
# Three standard deviations of a share of 0.95 in 300 trials.
LEAST_KEPT = 0.95 - 3 * math.sqrt(0.95 * 0.05 / TRIALS)


def skewed(rng: np.random.Generator, count: int) -> Floats:
    return rng.lognormal(0, 1.5, count).astype(np.float32)


def tied(rng: np.random.Generator, count: int) -> Floats:
    """Eight values only, as of a detector that rounds."""
    return rng.geometric(0.4, count).clip(1, 8).astype(np.float32)


def in_two_heaps(rng: np.random.Generator, count: int) -> Floats:
    """One part in twenty-five is of another charge."""
    return (rng.normal(0, 1, count) + 8 * (rng.random(count) < 0.04)).astype(np.float32)


@pytest.mark.parametrize(
    ("share", "confidence", "beyond", "expected"),
    [(0.05, 0.95, 0, 59), (0.01, 0.95, 0, 299), (0.01, 0.9, 0, 230), (0.05, 0.95, 1, 93), (0.1, 0.95, 2, 61)],
)
def test_needed_parts_are_those_of_the_tables(share: float, confidence: float, beyond: int, expected: int) -> None:
    assert needed_parts(share, confidence, beyond) == expected
    assert tolerance_rank(expected, share, confidence) == beyond
    before = tolerance_rank(expected - 1, share, confidence)
    assert before == (beyond - 1 if beyond else None)


@pytest.mark.parametrize(
    ("beyond", "parts", "expected"),
    # The rule of three, exactly; and one-sided 95 % bounds from the tables of the binomial.
    [(0, 59, 0.0495), (0, 300, 0.00994), (1, 20, 0.2161), (3, 10, 0.6066), (10, 10, 1.0), (0, 0, 1.0)],
)
def test_upper_bounds_are_those_of_the_tables(beyond: int, parts: int, expected: float) -> None:
    assert upper_bound(beyond, parts, 0.95) == pytest.approx(expected, abs=5e-5)


def test_binomial_tail_agrees_with_counting() -> None:
    drawn = np.random.default_rng(0).binomial(50, 0.1, 200_000)
    assert binomial_cdf(3, 50, 0.1) == pytest.approx(float((drawn <= 3).mean()), abs=0.005)


def test_a_rank_promises_the_share_and_the_next_one_does_not() -> None:
    for parts in (59, 60, 100, 300, 1000):
        rank = tolerance_rank(parts, 0.05, 0.95)
        assert rank is not None
        assert upper_bound(rank, parts, 0.95) <= 0.05 < upper_bound(rank + 1, parts, 0.95)


def test_a_part_counts_once_by_its_worst_picture() -> None:
    scores = np.array([1, 5, 2, 2, 7], np.float32)
    groups = ["a", "b", "a", "c", "b"]
    assert sorted(by_part(scores, groups, is_highest=True)) == [2, 2, 7]
    assert sorted(by_part(scores, groups, is_highest=False)) == [1, 2, 5]
    assert len(by_part(scores, None, is_highest=True)) == 5


def test_a_kept_promise_reads_as_a_sentence() -> None:
    told = promise_overkill(parts=300, pictures=300, beyond=0, asked_rate=0.01, confidence=0.95)
    assert told.missing_parts is None
    assert told.statement == (
        "Of sound parts like these at most 1.0 % are judged NG, with 95 % confidence, from 300 parts."
    )


def test_too_few_parts_say_what_holds_and_how_many_are_missing() -> None:
    told = promise_overkill(parts=49, pictures=294, beyond=0, asked_rate=0.01, confidence=0.95)
    assert told.kept_rate == pytest.approx(1 - 0.05 ** (1 / 49))
    assert told.missing_parts == 250
    assert "at most 6.0 %" in told.statement
    assert "from 49 parts (294 pictures)" in told.statement
    assert "250 more parts would promise 1 %" in told.statement


def test_missing_labelled_parts_bring_the_escape_promise_when_none_of_them_passes() -> None:
    told = promise_escapes(parts=40, pictures=40, beyond=1, asked_rate=0.05, confidence=0.95)
    assert told.missing_parts is not None
    assert upper_bound(1, 40 + told.missing_parts, 0.95) <= 0.05 < upper_bound(1, 39 + told.missing_parts, 0.95)
    assert f"{told.missing_parts} more labelled parts, none of them passing, would promise 5 %" in told.statement


def test_no_escape_at_all_cannot_be_promised() -> None:
    told = promise_escapes(parts=40, pictures=40, beyond=0, asked_rate=0.0, confidence=0.95)
    assert told.missing_parts is None
    assert told.kept_rate > 0
    assert "No number of parts" in told.statement


@pytest.mark.parametrize("share", [0.0001, 0.0099, 0.01, 0.07, 0.0701, 0.5])
def test_a_bound_in_words_is_never_less_than_the_bound(share: float) -> None:
    assert float(at_most(share).removesuffix(" %")) / 100 >= share - 1e-12


@pytest.mark.parametrize("draw", [skewed, tied, in_two_heaps])
@pytest.mark.parametrize(("parts", "asked"), [(40, 0.01), (120, 0.05), (400, 0.02)])
def test_overkill_promise_holds_as_often_as_stated(
    draw: Callable[[np.random.Generator, int], Floats], parts: int, asked: float
) -> None:
    rng = np.random.default_rng([parts, 1])
    population = np.sort(draw(rng, 200_000))
    policy = LimitsPolicy(overkill_target_rate=asked)
    kept = 0
    for _ in range(TRIALS):
        limits, _ = place_limits(draw(rng, parts), NONE, policy)
        assert limits.overkill is not None
        judged_ng = 1 - np.searchsorted(population, limits.ng_limit) / len(population)
        kept += int(judged_ng <= limits.overkill.kept_rate)
    assert kept / TRIALS >= LEAST_KEPT


def tiles(rng: np.random.Generator, parts: int, pictures: int) -> tuple[Floats, list[str]]:
    """Parts under several exposures: what a part is like weighs more than how it was taken."""
    scores = np.repeat(rng.exponential(1, parts), pictures) + rng.normal(0, 0.2, parts * pictures)
    return scores.astype(np.float32), [f"part-{part}" for part in range(parts) for _ in range(pictures)]


def share_kept(*, is_grouped: bool) -> float:
    """How often the promise held of the parts to come, with six pictures of each part."""
    rng = np.random.default_rng(5)
    population = np.sort(by_part(*tiles(rng, 40_000, 6), is_highest=True))
    policy = LimitsPolicy(overkill_target_rate=0.05)
    kept = 0
    for _ in range(TRIALS):
        scores, groups = tiles(rng, 60, 6)
        limits, _ = place_limits(scores, NONE, policy, sound_groups=groups if is_grouped else None)
        assert limits.overkill is not None
        judged_ng = 1 - np.searchsorted(population, limits.ng_limit) / len(population)
        kept += int(judged_ng <= limits.overkill.kept_rate)
    return kept / TRIALS


def test_promise_holds_of_parts_with_several_pictures() -> None:
    assert share_kept(is_grouped=True) >= LEAST_KEPT


def test_counting_pictures_as_parts_would_break_the_promise() -> None:
    # Why parts are counted: this is what the rule is for, and how often the promise would hold without it.
    assert share_kept(is_grouped=False) < 0.8


@pytest.mark.parametrize("pictures", [1, 4])
@pytest.mark.parametrize(
    # Clear of sound parts; the OK limit goes down to the labelled defects' quantile; it stops at the review ceiling.
    "middle",
    [8.0, 2.6, 0.5],
)
def test_escape_promise_holds_as_often_as_stated(middle: float, pictures: int) -> None:
    rng = np.random.default_rng([int(10 * middle), pictures])

    def defects(parts: int) -> tuple[Floats, list[str]]:
        theirs = np.repeat(rng.normal(middle, 1, parts), pictures) + rng.normal(0, 0.3, parts * pictures)
        return theirs.astype(np.float32), [f"part-{part}" for part in range(parts) for _ in range(pictures)]

    population = np.sort(by_part(*defects(40_000), is_highest=False))
    kept = 0
    for _ in range(TRIALS):
        defective, groups = defects(50)
        sound = rng.normal(0, 1, 150).astype(np.float32)
        limits, notes = place_limits(sound, defective, LimitsPolicy(), defective_groups=groups)
        assert limits.escapes is not None
        assert limits.escapes.parts == 50
        assert any("pass as OK" in note for note in notes)
        passing = np.searchsorted(population, limits.ok_limit) / len(population)
        kept += int(passing <= limits.escapes.kept_rate)
    assert kept / TRIALS >= LEAST_KEPT


def test_a_limit_chosen_by_labelled_pictures_counts_as_many_parts_as_it_let_pictures_pass() -> None:
    # One part's pictures lie low, and the OK limit went down to let just those pass: it is no limit fixed beforehand.
    sound = np.random.default_rng(2).normal(0, 1, 300).astype(np.float32)
    low, clear = np.full(5, 1.3, np.float32), np.full(95, 1.6, np.float32)
    groups = ["low"] * 5 + [f"part-{row // 5}" for row in range(95)]
    limits, _ = place_limits(sound, np.concatenate([low, clear]), LimitsPolicy(), defective_groups=groups)
    assert limits.escapes is not None
    assert 1.3 < limits.ok_limit <= 1.6
    assert limits.escapes.beyond == 5
    # Lifted clear of the sound parts, the same labels choose nothing, and what passes is what counts.
    lifted, _ = place_limits(sound, np.concatenate([low, clear + 9]), LimitsPolicy(), defective_groups=groups)
    assert lifted.escapes is not None
    assert lifted.escapes.beyond == 1


def test_without_labelled_defects_nothing_is_promised_of_escapes() -> None:
    limits, notes = place_limits(np.arange(50, dtype=np.float32), NONE, LimitsPolicy())
    assert limits.escapes is None
    assert not any("pass as OK" in note for note in notes)


def test_equal_scores_of_sound_parts_are_not_judged_ng() -> None:
    # The limit rests on them; judged from the limit on, all of them would be thrown away.
    limits, _ = place_limits(np.ones(20, np.float32), NONE, LimitsPolicy())
    assert limits.ng_limit > 1


def scale() -> ScoreScale:
    found = fit_scale(np.random.default_rng(3).lognormal(0, 1, 400).astype(np.float32))
    assert found is not None
    return found


def test_the_scale_shown_to_people_rises_everywhere_and_is_never_clamped() -> None:
    told = scale()
    spread = told.scores[-1] - told.scores[0]
    asked = np.linspace(told.scores[0] - 100 * spread, told.scores[-1] + 100 * spread, 5001)
    rarities = np.array([told.rarity(float(score)) for score in asked])
    assert (np.diff(rarities) > 0).all()
    assert (rarities > 0).all()


def test_one_in_n_is_read_as_often_as_it_says() -> None:
    told = scale()
    fresh = np.random.default_rng(4).lognormal(0, 1, 20_000)
    rarities = np.array([told.rarity(float(score)) for score in fresh])
    assert (rarities >= 1).mean() == pytest.approx(0.1, rel=0.3)
    assert (rarities >= 2).mean() == pytest.approx(0.01, rel=0.6)


def test_equal_scores_still_have_a_scale() -> None:
    told = fit_scale(np.full(20, 3, np.float32))
    assert told is not None
    assert told.rarity(3) < told.rarity(3.5) < told.rarity(300)
    assert fit_scale(NONE) is None


@pytest.mark.parametrize(
    ("scores", "rarities", "expected"),
    [
        ([1, 1], [1, 2], "rising"),
        ([1, 2], [2, 1], "rising"),
        ([1, 2], [0, 1], "above 0"),
        ([1, 2], [1, 2, 3], "as many"),
    ],
)
def test_a_scale_with_ties_is_refused(scores: list[float], rarities: list[float], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        ScoreScale(scores=scores, rarities=rarities, parts=2)


def test_a_package_promises_from_parts_not_from_pictures(tmp_path: Path, settings: Settings) -> None:
    rng = np.random.default_rng(7)
    images = write_parts(tmp_path, rng, 24, is_defective=False, use=PartUse.TRAIN)
    images += write_parts(tmp_path, rng, 10, is_defective=True, use=PartUse.TRAIN)
    # Two pictures of each part.
    images = [image.model_copy(update={"group": f"{image.judgement}-{row // 2}"}) for row, image in enumerate(images)]
    images += write_parts(tmp_path, rng, 4, is_defective=False, use=PartUse.HOLDOUT)
    job = make_job(tmp_path, images, detector=DetectorKind.MEMORY_BANK)
    report = run_job(job, settings, SystemClock())
    limits = open_package(tmp_path / "out" / "package").manifest.limits
    assert limits.overkill is not None
    assert limits.escapes is not None
    assert limits.sound_scale is not None
    assert (limits.overkill.parts, limits.overkill.pictures, limits.sound_parts) == (12, 24, 12)
    assert (limits.escapes.parts, limits.escapes.pictures) == (5, 10)
    assert limits.overkill.missing_parts == needed(0.01) - 12
    for promise in (limits.overkill, limits.escapes):
        assert f"limits: {promise.statement}" in report.notes


def needed(share: float) -> int:
    parts = needed_parts(share, 0.95)
    assert parts is not None
    return parts
