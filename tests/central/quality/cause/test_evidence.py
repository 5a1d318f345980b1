# SPDX-License-Identifier: Apache-2.0
"""The degrees that causes are made of keep what they promise, by simulation."""

import numpy as np
import pytest

from central.quality.cause import Audited, Counts, began_at, rise_share, rise_share_seen
from central.quality.cause.evidence import escapes_beyond_rejects, has_risen, has_risen_everywhere, picture_of, rise_z
from central.quality.cause.observation import StreamSeen
from central.quality.rates import binomial_interval
from tests.central.quality.cause import scenes


def courses(ramp: int, runs: int = 200, noise: float = 0.2) -> "np.typing.NDArray[np.float64]":
    """`runs` courses of 60 blocks, from 0 to 1 over `ramp` blocks after the 20th."""
    path = np.clip((np.arange(60) - 20) / max(ramp, 1), 0, 1) if ramp else (np.arange(60) >= 20).astype(float)
    return path + noise * np.random.default_rng(3).standard_normal((runs, 60))


def test_a_step_rises_at_once_and_a_ramp_does_not() -> None:
    steps = np.array([rise_share(each, 0.0) for each in courses(0)], dtype=float)
    ramps = np.array([rise_share(each, 0.0) for each in courses(40)], dtype=float)
    assert np.median(steps) < 0.05
    assert np.quantile(steps, 0.95) < 0.2
    assert np.quantile(ramps, 0.05) > 0.25
    assert 0.4 < np.median(ramps) < 0.8


def test_falling_is_as_slow_as_rising() -> None:
    for path in courses(30, runs=20):
        assert rise_share(100 - path, 100.0) == pytest.approx(rise_share(path, 0.0))


def test_no_course_is_told_from_too_few_blocks_or_no_change() -> None:
    assert rise_share(np.ones(7), 0.0) is None
    assert rise_share(np.full(20, 3.0), 3.0) is None


@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.3])
def test_an_unchanged_rate_hardly_ever_rises(share: float) -> None:
    """2,000 pairs of unequal periods; the statistic is near a standard normal one even at 2 in 1,000."""
    rng = np.random.default_rng(5)
    before, since = rng.binomial(3000, share, 2000), rng.binomial(900, share, 2000)
    z = np.array([rise_z(Counts(int(b), 3000), Counts(int(s), 900)) for b, s in zip(before, since, strict=True)])
    assert abs(z.mean()) < 0.3
    assert 0.8 < z.std() < 1.15
    assert np.mean(z > 2) < 0.045


def test_a_rate_that_tripled_has_risen() -> None:
    assert has_risen(Counts(15, 1000), Counts(45, 1000)) > 0.5
    assert has_risen(Counts(45, 1000), Counts(15, 1000)) == 0
    assert has_risen(Counts(0, 0), Counts(15, 1000)) == 0


def test_a_rise_at_one_station_alone_is_no_rise_of_the_product() -> None:
    quiet, worse = Counts(10, 500), Counts(60, 500)
    assert has_risen(Counts(30, 1500), Counts(80, 1500)) == 1
    assert has_risen_everywhere([quiet] * 3, [worse, quiet, quiet]) == 0
    assert has_risen_everywhere([quiet] * 3, [Counts(27, 500), Counts(27, 500), Counts(26, 500)]) > 0.9
    assert has_risen_everywhere([quiet], [worse]) == 1, "with a single station nothing can be compared"


def test_escapes_that_rise_as_rejects_do_are_not_the_models_fault() -> None:
    before = Audited(binomial_interval(4, 400), binomial_interval(5, 100))
    since = Audited(binomial_interval(16, 400), binomial_interval(5, 100))
    rejects = Counts(20, 1000)
    assert escapes_beyond_rejects(before, since, rejects, Counts(20, 1000)) > 0.5
    assert escapes_beyond_rejects(before, since, rejects, Counts(80, 1000)) == 0


def test_less_light_alone_is_no_loss_of_sharpness() -> None:
    darker = picture_of(StreamSeen("a", "b", scenes.shifts(brightness=-10, contrast=-4, blur=-57)))
    assert darker.light == pytest.approx(0.1)
    assert darker.unsharp < 0.005
    unsharp = picture_of(StreamSeen("a", "b", scenes.shifts(contrast=-4, blur=-57)))
    assert unsharp.light == 0
    assert unsharp.unsharp > 0.09


@pytest.mark.parametrize("size", [0.5, -1.0, 3.0])
def test_beginning_of_a_step_is_found_within_a_few_values(size: float) -> None:
    rng = np.random.default_rng(4)
    found = [began_at(rng.normal(size=200) + np.where(np.arange(200) < 120, 0.0, size), 0.0) for _ in range(200)]
    away = np.abs(np.array(found) - 120)
    assert np.median(away) <= {0.5: 8, 1.0: 3, 3.0: 0}[abs(size)]


def test_one_value_begins_with_itself() -> None:
    assert began_at(np.array([4.0]), 1.0) == 0


@pytest.mark.parametrize("past", [0, 10, 200])
@pytest.mark.parametrize("after", [0, 10])
def test_ramp_is_slow_whatever_lies_before_and_after_it(past: int, after: int) -> None:
    rng = np.random.default_rng(6)
    path = np.r_[np.zeros(past), np.linspace(0, 1, 40), np.ones(after)]
    shares = [rise_share_seen([path + 0.1 * rng.normal(size=len(path))], 0.0) for _ in range(100)]
    assert np.quantile(np.array(shares, float), 0.05) > 0.2


@pytest.mark.parametrize("past", [4, 30, 200])
def test_step_is_sudden_whatever_lies_before_it(past: int) -> None:
    rng = np.random.default_rng(6)
    path = np.r_[np.zeros(past), np.ones(20)]
    shares = [rise_share_seen([path + 0.1 * rng.normal(size=len(path))], 0.0) for _ in range(100)]
    assert np.quantile(np.array(shares, float), 0.95) < 0.1


def test_change_that_began_before_the_fine_course_is_looked_for_in_the_coarse_one() -> None:
    ramp = np.linspace(0, 1, 24)
    late = np.full(40, 0.97)
    assert rise_share_seen([late], 0.0) is None
    share = rise_share_seen([late, ramp], 0.0)
    assert share is not None
    assert share > 0.3
