# SPDX-License-Identifier: Apache-2.0
"""What is unfit, repeated or out of place in a set of pictures is found, and what is fit is left alone."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.cleaning.faults import Fault, Finding, find_unfit
from models.cleaning.likeness import find_repeats, joined, near_pairs
from models.cleaning.measures import blur_of, measure_picture
from models.cleaning.registration import MOST_SHIFT, find_moved
from tests.models.conftest import draw_part

COUNT = 24
Picture = NDArray[np.uint8]


@pytest.fixture
def pictures() -> list[Picture]:
    rng = np.random.default_rng(3)
    return [draw_part(rng, is_defective=False) for _ in range(COUNT)]


def unfit(pictures: list[Picture]) -> dict[int, Fault]:
    return {each.row: each.fault for each in find_unfit([measure_picture(picture) for picture in pictures])}


def grain(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def test_sharp_pictures_of_one_product_are_all_fit(pictures: list[Picture]) -> None:
    assert unfit(pictures) == {}


def test_a_blurred_picture_stands_out_whatever_its_texture(pictures: list[Picture]) -> None:
    pictures[5] = np.asarray(cv2.GaussianBlur(pictures[5], (0, 0), 2.5), np.uint8)
    # Less contrast is not less sharpness.
    pictures[7] = (pictures[7] // 2 + 40).astype(np.uint8)
    assert unfit(pictures) == {5: Fault.BLURRED}


def test_blur_is_measured_on_edges_and_not_on_their_number() -> None:
    plain = np.zeros((120, 120), np.uint8)
    plain[:, 60:] = 200
    striped = np.tile(np.repeat(np.array([0, 200], np.uint8), 20), (120, 3))
    assert abs(blur_of(plain) - blur_of(striped)) < 0.15
    assert blur_of(np.asarray(cv2.GaussianBlur(striped, (0, 0), 3), np.uint8)) > blur_of(striped) + 0.3
    assert blur_of(np.full((40, 40), 90, np.uint8)) == 0, "a picture without an edge is empty, not blurred"


def test_dark_saturated_and_empty_pictures_are_told_apart(pictures: list[Picture]) -> None:
    pictures[1] = np.zeros_like(pictures[1])
    pictures[2] = np.full_like(pictures[2], 255)
    pictures[3] = np.full_like(pictures[3], 120)
    pictures[4] = (pictures[4] * 0.3).astype(np.uint8)
    assert unfit(pictures) == {1: Fault.TOO_DARK, 2: Fault.SATURATED, 3: Fault.EMPTY, 4: Fault.TOO_DARK}


def test_few_pictures_are_held_against_the_stations_bounds_alone(pictures: list[Picture]) -> None:
    few = pictures[:5]
    few[0] = np.asarray(cv2.GaussianBlur(few[0], (0, 0), 2.5), np.uint8)
    few[1] = np.zeros_like(few[1])
    assert unfit(few) == {1: Fault.TOO_DARK}


def _repeats(pictures: list[Picture], groups: list[str], seen: NDArray[np.float32]) -> list[Finding]:
    names = [f"picture {row}" for row in range(len(pictures))]
    return find_repeats([measure_picture(picture) for picture in pictures], seen, names, groups)


def test_the_same_pixels_are_a_duplicate_and_three_in_a_row_a_frozen_camera(pictures: list[Picture]) -> None:
    pictures[11] = pictures[2]
    pictures[21] = pictures[22] = pictures[20]
    found = _repeats(pictures, [str(row) for row in range(COUNT)], grain((COUNT, 50), 1))
    assert {each.row: each.fault for each in found} == {
        11: Fault.DUPLICATE, 21: Fault.DUPLICATE, 22: Fault.FROZEN,
    }  # fmt: skip
    assert "picture 2" in found[0].reason


def test_a_near_duplicate_is_told_across_parts_and_not_within_one() -> None:
    rng = np.random.default_rng(5)
    pictures: list[Picture] = [
        np.repeat(cv2.resize(rng.integers(0, 255, (6, 6), np.uint8), (96, 96))[..., None], 3, axis=2).astype(np.uint8)
        for _ in range(COUNT)
    ]
    seen = grain((COUNT, 50), 2)
    for row, of in ((10, 3), (12, 4)):
        # A little brighter, and seen nearly the same.
        pictures[row] = np.clip(pictures[of].astype(np.int32) + 4, 0, 255).astype(np.uint8)
        seen[row] = seen[of] + 0.1 * grain((50,), row)
    groups = [str(row) for row in range(COUNT)]
    groups[12] = groups[4]
    assert [(each.row, each.fault) for each in _repeats(pictures, groups, seen)] == [(10, Fault.NEAR_DUPLICATE)]


def test_a_little_softer_than_a_very_even_set_is_not_blurred(pictures: list[Picture]) -> None:
    measured = [replace(measure_picture(pictures[0]), blur=0.3 + 0.0001 * row) for row in range(COUNT)]
    assert find_unfit([*measured, replace(measured[0], blur=0.33)]) == []
    assert [each.fault for each in find_unfit([*measured, replace(measured[0], blur=0.4)])] == [Fault.BLURRED]


def test_a_resemblance_is_no_near_duplicate() -> None:
    looks = np.random.default_rng(6).random((COUNT, 64)) < 0.5
    seen = grain((COUNT, 400), 3)
    looks[9], seen[9] = looks[2], seen[2] + 1.1 * grain((400,), 9)
    assert near_pairs(looks, seen) == [], "a cosine of two thirds, though all others are further away"


@pytest.mark.parametrize("unlike", ["look", "sight"])
def test_near_duplicates_are_alike_by_both_measures(unlike: str) -> None:
    looks = np.random.default_rng(6).random((COUNT, 64)) < 0.5
    seen = grain((COUNT, 50), 3)
    if unlike == "look":
        seen[9] = seen[2]
    else:
        looks[9] = looks[2]
    assert near_pairs(looks, seen) == []
    looks[9], seen[9] = looks[2], seen[2]
    assert near_pairs(looks, seen) == [(2, 9)]
    assert near_pairs(looks[:15], seen[:15]) == [], "how a set varies is not known from 15 pictures"


def test_parts_of_one_colour_are_no_near_duplicates_of_each_other() -> None:
    # Two colours: what a trunk sees differs between them by far more than among the parts of one.
    seen = grain((60, 50), 4)
    seen[30:] += 8
    looks = np.tile(np.random.default_rng(9).random(64) < 0.5, (60, 1))
    assert near_pairs(looks, seen) == []
    seen[41] = seen[40] + 0.1
    assert near_pairs(looks, seen) == [(40, 41)]


def test_pairs_hang_together_over_any_chain() -> None:
    assert joined(6, [(4, 5), (1, 4), (0, 2)]) == [0, 1, 0, 3, 1, 1]


def _shifted(picture: Picture, x: float, y: float) -> Picture:
    side = picture.shape[0]
    matrix = np.array([[1, 0, x * side], [0, 1, y * side]], np.float64)
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def test_a_part_that_lies_elsewhere_is_found_with_its_direction(pictures: list[Picture]) -> None:
    pictures[4] = _shifted(pictures[4], 0.1, 0.0)
    pictures[9] = _shifted(pictures[9], 0.0, -0.08)
    pictures[13] = _shifted(pictures[13], MOST_SHIFT / 2, 0.0)
    found, note = find_moved([measure_picture(picture) for picture in pictures])
    assert note is None
    assert [each.row for each in found] == [4, 9]
    assert "+9% of the width" in found[0].reason or "+10% of the width" in found[0].reason


def test_parts_that_lie_anywhere_are_not_said_to_be_moved(pictures: list[Picture]) -> None:
    rng = np.random.default_rng(8)
    anywhere = [_shifted(picture, *rng.uniform(-0.15, 0.15, 2)) for picture in pictures]
    found, note = find_moved([measure_picture(picture) for picture in anywhere])
    assert found == []
    assert note is not None
    assert "do not lie in one place" in note
