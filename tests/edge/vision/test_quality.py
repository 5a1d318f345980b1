# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault, VerdictCause
from edge_agent.errors import ImageFaultError
from edge_agent.recipes.recipe import Recipe, Recipes
from edge_agent.vision.quality import SATURATED_FROM, USUAL_GUARD, Guard, Repeats, check_picture
from tests.edge.station_fakes import Bench, textured

STRICT = Guard(min_brightness=30, max_saturated=0.2, min_contrast=5, min_sharpness=100)


def scene() -> NDArray[np.uint8]:
    """A part of middle grey with coarse and fine structure."""
    noise = np.random.default_rng(3).normal(120, 20, (96, 96, 1)) + np.linspace(-40, 40, 96)[:, None, None]
    return np.repeat(noise.clip(0, 240), 3, axis=2).astype(np.uint8)


def dimmed(pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    return (pixels * factor).clip(0, 255).astype(np.uint8)


SPOILT: list[tuple[ImageFault, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]] = [
    (ImageFault.TOO_DARK, lambda pixels: dimmed(pixels, 0.1)),
    (ImageFault.SATURATED, lambda pixels: dimmed(pixels, 2.2)),
    (ImageFault.EMPTY, lambda pixels: np.full_like(pixels, 120)),
    (ImageFault.BLURRED, lambda pixels: np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.5), np.uint8)),
]


@pytest.mark.parametrize(("fault", "spoil"), SPOILT, ids=[str(fault) for fault, _ in SPOILT])
def test_spoilt_picture_is_named_by_its_fault(
    fault: ImageFault, spoil: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    check_picture(scene(), STRICT)
    with pytest.raises(ImageFaultError, match=r"expected at (least|most)") as caught:
        check_picture(spoil(scene()), STRICT)
    assert caught.value.fault is fault
    assert caught.value.remedy


def test_usual_guard_refuses_a_covered_and_a_blinded_lens_only() -> None:
    check_picture(scene(), USUAL_GUARD)
    check_picture(dimmed(scene(), 0.1), USUAL_GUARD)
    for level in (0, 1, 255):
        with pytest.raises(ImageFaultError):
            check_picture(np.full((64, 64, 3), level, np.uint8), USUAL_GUARD)


def test_blur_is_held_against_nothing_until_a_recipe_says_so() -> None:
    soft = np.asarray(cv2.GaussianBlur(scene(), (0, 0), 4), np.uint8)
    check_picture(soft, replace(STRICT, min_sharpness=0))
    with pytest.raises(ImageFaultError, match="sharpness"):
        check_picture(soft, STRICT)


def test_camera_that_repeats_itself_to_the_last_bit_is_frozen() -> None:
    repeats, pixels = Repeats(), scene()
    for _ in range(2):
        repeats.check(pixels.copy(), 2)
    with pytest.raises(ImageFaultError, match="3th time") as caught:
        repeats.check(pixels.copy(), 2)
    assert caught.value.fault is ImageFault.FROZEN
    other = pixels.copy()
    # Far down: its first rows are those of the last.
    other[50, 5, 0] ^= 1
    repeats.check(other, 2)
    repeats.check(pixels, 2)


def test_any_number_of_repeats_may_be_allowed() -> None:
    repeats, pixels = Repeats(), scene()
    for _ in range(20):
        repeats.check(pixels, 0)


def test_frozen_camera_passes_no_further_part_and_a_simulated_one_may_repeat() -> None:
    bench = Bench()
    bench.activate(0.1)
    causes = [bench.show(number, pixels=textured()).cause for number in range(1, 5)]
    assert causes == [*[VerdictCause.SCORE] * 2, *[VerdictCause.IMAGE_FAULT] * 2]
    assert bench.outbox.reports[-1].image_fault is ImageFault.FROZEN
    assert bench.show(5).cause is VerdictCause.SCORE
    simulated = Bench()
    simulated.activate(0.1)
    shown = [simulated.show(number, pixels=textured(), is_simulated=True).cause for number in range(1, 6)]
    assert set(shown) == {VerdictCause.SCORE}


def test_image_fault_raises_one_message_with_one_picture_and_ends_when_pictures_are_sound_again() -> None:
    bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(guard=Guard(min_brightness=60))})))
    bench.activate(0.1)
    dark = dimmed(textured(), 0.2)
    for number in range(1, 5):
        assert bench.show(number, pixels=dark + np.uint8(number)).image_fault is ImageFault.TOO_DARK
    (fault,) = [fault for fault in bench.health.status().faults if fault.code == "image-too-dark"]
    assert "expected at least 60" in fault.message
    assert fault.remedy
    # Sequence, and whether it is brought to central.
    assert [(kept[0], kept[3]) for kept in bench.evidence.kept] == [(1, True), (2, False), (3, False), (4, False)]
    assert fault.inspection is not None
    assert fault.inspection.sequence == 1
    bench.show(5)
    assert "image-too-dark" in {fault.code for fault in bench.health.status().faults}
    bench.clock.advance(30)
    bench.show(6)
    assert "image-too-dark" not in {fault.code for fault in bench.health.status().faults}


def test_unreadable_picture_has_nothing_to_show() -> None:
    bench = Bench()
    bench.activate(0.1)
    assert bench.show(1, pixels=None, fault="broken JPEG").image_fault is ImageFault.UNREADABLE
    assert bench.evidence.kept == []
    (fault,) = [fault for fault in bench.health.status().faults if fault.code == "image-unreadable"]
    assert fault.message == "broken JPEG"


def plainly_refused(view: NDArray[np.uint8], guard: Guard) -> ImageFault | None:
    """What the guard says when every figure is worked out in full."""
    grey = cv2.cvtColor(view, cv2.COLOR_BGR2GRAY)
    if grey.mean() < guard.min_brightness:
        return ImageFault.TOO_DARK
    if (grey >= SATURATED_FROM).mean() > guard.max_saturated:
        return ImageFault.SATURATED
    if max(view[..., colour].std() for colour in range(3)) < guard.min_contrast:
        return ImageFault.EMPTY
    return None


def test_what_is_not_worked_out_would_have_changed_nothing() -> None:
    rng, seen = np.random.default_rng(5), set()
    for _ in range(400):
        level, spread, tint = rng.uniform(0, 260), rng.uniform(0, 8) ** 2, rng.normal(0, 6, 3)
        # One colour alone may hold what little structure there is.
        of_one = rng.normal(0, rng.uniform(0, 4), (24, 24, 1)) * (np.arange(3) == rng.integers(3))
        noise = rng.normal(0, spread, (24, 24, 1)) * rng.integers(0, 2)
        view = (level + tint + of_one + noise).clip(0, 255).astype(np.uint8)
        guard = Guard(
            min_brightness=rng.uniform(0, 60), max_saturated=rng.uniform(0, 1), min_contrast=rng.uniform(0, 6)
        )
        expected = plainly_refused(view, guard)
        seen.add(expected)
        try:
            check_picture(view, guard)
            found = None
        except ImageFaultError as error:
            found = error.fault
        assert found is expected, (level, spread, guard)
    assert seen == {None, ImageFault.TOO_DARK, ImageFault.SATURATED, ImageFault.EMPTY}
