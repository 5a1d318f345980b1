# SPDX-License-Identifier: Apache-2.0
"""Camera effects: shapes and bounds hold, each does what it says, the timeline follows the scenario."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant.line.effects import (
    CameraCondition,
    EffectTimeline,
    Optics,
    light_picture,
    shift_picture,
    soil_map,
    soil_picture,
)
from plant.scenario import Drift, Step

STILL = Drift(light=0, colour=0, noise=0)


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    light=st.floats(0.05, 4),
    colour=st.floats(-0.5, 0.5),
    blur=st.floats(0, 8),
    noise=st.floats(0, 60),
    soiling=st.floats(0, 1),
    shift=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
)
def test_any_condition_gives_a_picture_of_the_same_shape(  # noqa: PLR0917 -- Hypothesis names each
    light: float, colour: float, blur: float, noise: float, soiling: float, shift: tuple[float, float]
) -> None:
    condition = CameraCondition(light, colour, blur, noise, soiling, shift)
    optics = Optics(48, 64, np.random.default_rng(0))
    before = picture()
    seen = optics.see(before, condition, np.random.default_rng(1))
    assert seen.shape == (48, 64, 3)
    assert seen.dtype == np.uint8
    assert np.array_equal(before, picture()), "the part itself must stay as it was"


def test_the_same_generator_gives_the_same_noise() -> None:
    optics = Optics(48, 64, np.random.default_rng(0))
    noisy = CameraCondition(noise=5)
    first, second = (optics.see(picture(), noisy, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, optics.see(picture(), noisy, np.random.default_rng(10)))


def test_noise_has_the_stated_deviation() -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    seen = Optics(256, 256, np.random.default_rng(0)).see(grey, CameraCondition(noise=6), np.random.default_rng(1))
    assert seen.astype(float).std() == pytest.approx(6, rel=0.05)


def test_light_is_clipped_and_never_wraps() -> None:
    seen = light_picture(picture(), 3.0, 0.0)
    assert np.all(seen >= picture())


def test_warmer_colour_raises_red_and_lowers_blue() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    blue, green, red = light_picture(grey, 1.0, 0.1)[0, 0]
    assert (blue, green, red) == (90, 100, 110)


def test_shift_moves_right_and_down() -> None:
    black = np.zeros((20, 20, 3), np.uint8)
    black[5, 5] = 255
    assert shift_picture(black, (3, 2))[7, 8].max() == 255


def test_soiling_takes_contrast_where_the_dirt_is() -> None:
    soil = soil_map(128, 128, np.random.default_rng(2))
    sharp = np.random.default_rng(3).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    dirty = soil_picture(sharp, soil, 0.9)
    assert dirty[soil > 200].std() < 0.7 * sharp[soil > 200].std()
    assert np.array_equal(soil_picture(sharp, soil, 0.0), sharp)


def test_a_day_of_light_rises_and_falls_and_comes_back() -> None:
    line = EffectTimeline(Drift(light=0.1, colour=0.05, day_parts=400), (), "st-1")
    light = [line.at(part).light for part in range(400)]
    assert max(light) == pytest.approx(1.1, abs=1e-3)
    assert min(light) == pytest.approx(0.9, abs=1e-3)
    assert line.at(400).light == pytest.approx(line.at(0).light, abs=1e-9)


def test_a_step_is_reached_evenly_and_stays() -> None:
    line = EffectTimeline(STILL, (Step(at_part=100, light=-0.2, blur_px=2, over_parts=50),), "st-1")
    assert [line.at(part).light for part in (99, 100, 125, 150, 900)] == pytest.approx([1, 1, 0.9, 0.8, 0.8])
    assert line.at(125).blur_px == pytest.approx(1)


def test_a_step_of_one_station_is_not_seen_at_another() -> None:
    steps = (Step(at_part=10, station="st-1", shift_px=(4, 0)),)
    assert EffectTimeline(STILL, steps, "st-1").at(10).shift_px == (4, 0)
    assert EffectTimeline(STILL, steps, "st-2").at(10).shift_px == (0, 0)


def test_steps_of_light_add_up() -> None:
    steps = (Step(at_part=1, light=-0.1), Step(at_part=5, light=0.3))
    assert EffectTimeline(STILL, steps, "st-1").at(5).light == pytest.approx(1.2)
