# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from central.quality.msa import attribute_study, clustered_interval, fleiss_kappa, plan
from central.quality.rates import binomial_interval

REFERENCE = np.arange(50) < 20


def _answers(miss: float, alarm: float, rng: np.random.Generator, trials: int = 3) -> np.ndarray:
    """Everybody errs independently in each trial."""
    wrong = np.where(REFERENCE, miss, alarm)
    return REFERENCE[:, None] ^ (rng.random((50, trials)) < wrong[:, None])


def test_figures_of_a_study_counted_by_hand() -> None:
    """Two good and two defective parts, two trials."""
    reference = np.array([True, True, False, False])
    careful = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], dtype=bool)
    hasty = np.array([[1, 1], [0, 0], [1, 1], [0, 1]], dtype=bool)
    study = attribute_study(["careful", "hasty"], np.stack([careful, hasty]), reference)
    first, second = study.appraisers
    assert (first.effectiveness.estimate, second.effectiveness.estimate) == (0.75, 0.25)
    assert (first.repeatability.estimate, second.repeatability.estimate) == (0.75, 0.75)
    assert (first.miss_rate.estimate, second.miss_rate.estimate) == (0.25, 0.5)
    assert (first.false_alarm_rate.estimate, second.false_alarm_rate.estimate) == (0.0, 0.75)
    assert (first.defective_answers, first.good_answers) == (4, 4)
    # careful says defective 3 of 8 times: chance alone agrees in .5; 7 of 8 answers agree with the reference.
    assert first.kappa_to_reference.estimate == pytest.approx((7 / 8 - 0.5) / 0.5)
    assert study.all_right.estimate == 0.25
    assert [(pair.first, pair.second) for pair in study.pairs] == [("careful", "hasty")]


def test_fleiss_kappa_of_the_textbook_case_of_two_classes() -> None:
    """Ten parts, three answers each: said defective 0 0 1 3 3 2 0 1 3 2 times."""
    said = np.array([0, 0, 1, 3, 3, 2, 0, 1, 3, 2])
    kappa = fleiss_kappa(np.arange(3)[None, :] < said[:, None])
    alike = (6 * 1 + 4 * (1 / 3)) / 10
    assert kappa.estimate == pytest.approx((alike - 0.5) / 0.5)
    assert kappa.low < (alike - 0.5) / 0.5 < kappa.high <= 1.0


def test_faultless_people_are_not_known_to_be_faultless() -> None:
    answers = np.repeat(np.repeat(REFERENCE[None, :, None], 3, axis=0), 3, axis=2)
    study = attribute_study(["a", "b", "c"], answers, REFERENCE)
    assert study.kappa_of_all.estimate == 1.0
    assert study.kappa_of_all.low < 0.95
    # No miss in 60 answers on 20 parts bears out what 20 answers would: 1 - .025^(1/20).
    assert study.appraisers[0].miss_rate.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_everybody_saying_the_same_of_all_is_no_agreement_beyond_chance() -> None:
    study = attribute_study(["a", "b"], np.zeros((2, 50, 3), dtype=bool), REFERENCE)
    assert study.kappa_of_all.estimate is None
    assert study.pairs[0].kappa.estimate is None
    assert study.appraisers[0].kappa_to_reference.estimate == 0.0
    assert study.appraisers[0].miss_rate.estimate == 1.0


def test_one_trial_says_nothing_of_repeatability() -> None:
    answers = _answers(0.1, 0.05, np.random.default_rng(0), trials=1)
    study = attribute_study(["a", "b"], np.stack([answers, answers]), REFERENCE)
    assert study.appraisers[0].repeatability.estimate is None


@pytest.mark.parametrize("likeness", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_miss_rate_holds_however_alike_the_answers_on_one_part_are(likeness: float, rate: float) -> None:
    """Beta-binomial parts: with likeness .95 three answers on a part are hardly more than one."""
    rng = np.random.default_rng(3)
    runs, held = 600, 0
    for _ in range(runs):
        if likeness:
            spread = (1 - likeness) / likeness
            chance = rng.beta(rate * spread, (1 - rate) * spread, size=25)
        else:
            chance = np.full(25, rate)
        interval = clustered_interval(rng.binomial(3, chance) / 3)
        held += interval.low <= rate <= interval.high
    assert held / runs >= 0.93


def test_answers_taken_as_independent_would_promise_too_much() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(600):
        count = int(3 * (rng.random(25) < 0.3).sum())
        interval = binomial_interval(count, 75)
        held += interval.low <= 0.3 <= interval.high
    assert held / 600 < 0.85


@pytest.mark.parametrize(("miss", "alarm"), [(0.05, 0.02), (0.2, 0.1)])
def test_bounds_of_kappa_hold(miss: float, alarm: float) -> None:
    rng = np.random.default_rng(5)
    pe_said = 0.4 * (1 - miss) + 0.6 * alarm
    agreement = 0.4 * ((1 - miss) ** 2 + miss**2) + 0.6 * ((1 - alarm) ** 2 + alarm**2)
    chance = pe_said**2 + (1 - pe_said) ** 2
    truth = (agreement - chance) / (1 - chance)
    runs, held = 300, 0
    for _ in range(runs):
        answers = np.concatenate([_answers(miss, alarm, rng) for _ in range(3)], axis=1)
        kappa = fleiss_kappa(answers)
        held += kappa.low <= truth <= kappa.high
    assert held / runs >= 0.93


def test_plan_shows_every_part_in_each_trial_in_an_order_of_its_own() -> None:
    order = plan(50, 3, 3, np.random.default_rng(1))
    assert order.shape == (3, 3, 50)
    assert (np.sort(order, axis=2) == np.arange(50)).all()
    assert len({tuple(row) for row in order.reshape(9, 50).tolist()}) == 9


@pytest.mark.parametrize(
    ("answers", "reference", "message"),
    [
        (np.zeros((2, 3), dtype=bool), np.array([True, False, True]), "shape"),
        (np.zeros((2, 4, 3), dtype=bool), np.array([True, False, True]), "shape"),
        (np.zeros((2, 3, 0), dtype=bool), np.array([True, False, True]), "shape"),
        (np.zeros((2, 3, 3), dtype=bool), np.array([True, True, True]), "one kind"),
    ],
)
def test_a_study_that_cannot_be_evaluated_is_refused(answers: np.ndarray, reference: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attribute_study(["a", "b"], answers, reference)


def test_numbers_that_make_no_plan_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        plan(0, 3, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="two answers"):
        fleiss_kappa(np.zeros((3, 1), dtype=bool))
    with pytest.raises(ValueError, match="shares in 0"):
        clustered_interval(np.array([0.5, 1.5]))
