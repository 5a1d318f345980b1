# SPDX-License-Identifier: Apache-2.0
"""The label-free hint is right where nothing has changed, and blind to what labels are for."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from central.quality.label_free import LEAST_OF_EACH, calibrate, expected_escapes
from central.quality.sampling import draw_audit

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
PARTS, LIMIT = 20_000, 2.4


def _day(rng: np.random.Generator, defects: float = 0.03, apart: float = 2.8) -> tuple[Floats, Bools]:
    """Scores whose logarithm is normal, defective parts that many deviations higher."""
    defective = rng.random(PARTS) < defects
    return np.exp(rng.standard_normal(PARTS) + apart * defective), defective


def _audited(rng: np.random.Generator, score: Floats, defective: Bools) -> tuple[Floats, Bools, Floats]:
    """800 audits of accepted parts by floor and risk, 200 of rejects with equal chance."""
    is_accepted = np.log(score) < LIMIT
    accepted, rejected = np.flatnonzero(is_accepted), np.flatnonzero(~is_accepted)
    index, chance = draw_audit(score[accepted], 800, rng)
    chosen = rng.choice(rejected, 200, replace=False)
    every = np.concatenate([accepted[index], chosen])
    return score[every], defective[every], np.concatenate([chance, np.full(200, 200 / len(rejected))])


def test_without_drift_it_expects_what_there_is() -> None:
    """Another day of the same process, of which nobody judged a part."""
    rng = np.random.default_rng(6)
    ratios, held = [], []
    for _ in range(150):
        calibration = calibrate(*_audited(rng, *_day(rng)))
        assert calibration is not None
        score, defective = _day(rng)
        accepted = np.log(score) < LIMIT
        hint = expected_escapes(calibration, score[accepted])
        truth = float(defective[accepted].mean())
        ratios.append(hint.expected / truth)
        held.append(hint.low <= truth <= hint.high)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.06)
    assert np.percentile(np.abs(np.array(ratios) - 1), 90) < 0.5
    # Of how well the curve is known alone: the chance of the parts themselves is not in it.
    assert np.mean(held) >= 0.88


def test_more_of_the_known_defects_are_expected_too() -> None:
    """Scores tell of these; how many more a curve learnt at another share says too few of is known: it lags."""
    rng = np.random.default_rng(7)
    calibration = calibrate(*_audited(rng, *_day(rng)))
    assert calibration is not None
    usual, many = (_day(rng, share)[0] for share in (0.03, 0.12))
    expected = [expected_escapes(calibration, score[np.log(score) < LIMIT]).expected for score in (usual, many)]
    assert 1.3 < expected[1] / expected[0] < 4.0


def test_a_new_kind_that_scores_low_is_not_seen() -> None:
    """What makes it a hint: audits find these, scores do not."""
    rng = np.random.default_rng(8)
    calibration = calibrate(*_audited(rng, *_day(rng)))
    assert calibration is not None
    score, defective = _day(rng)
    new = rng.random(PARTS) < 0.02
    score[new] = np.exp(rng.standard_normal(int(new.sum())))
    accepted = np.log(score) < LIMIT
    truth = float((defective | new)[accepted].mean())
    hint = expected_escapes(calibration, score[accepted])
    assert hint.high < truth


def test_scores_beyond_what_was_audited_are_told() -> None:
    rng = np.random.default_rng(9)
    score, defective = _day(rng)
    calibration = calibrate(*_audited(rng, score, defective))
    assert calibration is not None
    inside = np.clip(score, calibration.lowest, calibration.highest)
    assert expected_escapes(calibration, inside).beyond == 0.0
    shifted = np.concatenate([inside, np.full(PARTS, calibration.highest * 3)])
    assert expected_escapes(calibration, shifted).beyond == pytest.approx(0.5)
    assert calibration.chance(np.array([calibration.highest * 3])) == calibration.chance(
        np.array([calibration.highest])
    )


def test_too_few_of_either_kind_teach_nothing_and_audits_without_overlap_do_no_harm() -> None:
    score = np.linspace(1.0, 2.0, 100)
    chance = np.full(100, 0.5)
    for defective in (LEAST_OF_EACH - 1, 100 - LEAST_OF_EACH + 1):
        assert calibrate(score, np.arange(100) < defective, chance) is None
    assert calibrate(np.ones(100), np.arange(100) < 50, chance) is None
    apart = calibrate(score, score > 1.5, chance)
    assert apart is not None
    assert np.isfinite([apart.slope, apart.intercept]).all()
    hint = expected_escapes(apart, score)
    assert 0.0 <= hint.low <= hint.expected <= hint.high <= 1.0


def test_wrong_arrays_are_refused() -> None:
    good = np.ones(3)
    for score, chance in (
        (np.zeros(3), good),
        (good, good * 2),
        (np.array([1.0, np.nan, 1.0]), good),
        (good, np.ones(2)),
    ):
        with pytest.raises(ValueError, match="label-free hint: expected"):
            calibrate(score, np.zeros(3, dtype=np.bool_), chance)
    calibration = calibrate(np.linspace(1, 2, 40), np.arange(40) % 2 == 0, np.ones(40))
    assert calibration is not None
    with pytest.raises(ValueError, match="at least one accepted part"):
        expected_escapes(calibration, np.empty(0))


def test_nothing_but_its_route_uses_the_hint() -> None:
    """No gate, no alarm, no rate, no report: they rest on labels."""
    central = Path(__file__).parents[3] / "central"
    text = {path.name: path.read_text(encoding="utf-8") for path in central.rglob("*.py")}
    assert {name for name, said in text.items() if "label_free" in said} == {"hints.py"}
    assert {name for name, said in text.items() if "    hints," in said or "api.hints" in said} == {
        "learning_routers.py"
    }
    assert {name for name, said in text.items() if "hint_rows" in said} == {"hints.py"}


def test_audits_stand_for_as_many_parts_as_their_chance_says() -> None:
    """Where chances are no logistic curve, the weighted one is still right over all parts; the bare one is not."""
    rng = np.random.default_rng(10)
    score = np.exp(rng.standard_normal(60_000))
    defective = rng.random(60_000) < np.where(score < 1.0, 0.10, np.where(score < 4.0, 0.02, 0.7))
    chance = np.where(score < 1.0, 0.03, 0.6)
    drawn = rng.random(60_000) < chance
    calibration = calibrate(score[drawn], defective[drawn], chance[drawn])
    assert calibration is not None
    assert float(calibration.chance(score).mean()) == pytest.approx(float(defective.mean()), rel=0.08)
