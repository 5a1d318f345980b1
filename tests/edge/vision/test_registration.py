# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault, RegistrationMethod
from edge_agent.errors import ImageFaultError
from edge_agent.vision.registration import Landmark, Place, Registration, locate
from edge_agent.vision.roi import OUTSIDE, Roi, crop

SIDE = 240
MARKS = ((40, 50), (170, 60))


def frame(dx_px: float = 0, dy_px: float = 0, turn_deg: float = 0, gain: float = 1.0) -> NDArray[np.uint8]:
    """A fixture with two marks and a part with structure, moved and turned about the first mark's corner."""
    rng = np.random.default_rng(8)
    pixels = cv2.GaussianBlur(rng.normal(110, 40, (SIDE, SIDE)), (0, 0), 2.0)
    for number, (x, y) in enumerate(MARKS):
        cv2.rectangle(pixels, (x, y), (x + 20, y + 20), 240, -1)
        cv2.circle(pixels, (x + 8 + 4 * number, y + 10), 5, 20, -1)
    moved = np.asarray(cv2.getRotationMatrix2D(MARKS[0], -turn_deg, 1.0), float)
    moved[:, 2] += np.array([dx_px, dy_px])
    pixels = cv2.warpAffine(pixels, moved, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    grey = (gain * pixels).clip(0, 255).astype(np.uint8)
    return np.dstack([grey, grey, grey])


def taught(
    count: int = 1, method: RegistrationMethod = RegistrationMethod.FIDUCIAL, max_shift_px: float = 25
) -> Registration:
    grey = frame()[:, :, 0]
    landmarks = tuple(Landmark(grey[y - 4 : y + 26, x - 4 : x + 26].copy(), x - 4, y - 4) for x, y in MARKS[:count])
    return Registration(method, landmarks, search_px=30, min_score=0.7, max_shift_px=max_shift_px)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (7, -5), (-12, 9), (3.4, -2.6)])
@pytest.mark.parametrize("gain", [0.6, 1.0])
def test_shift_is_found_to_a_fraction_of_a_pixel_in_any_light(dx: float, dy: float, gain: float) -> None:
    place = locate(frame(dx, dy, gain=gain), taught())
    assert (place.dx_px, place.dy_px) == pytest.approx((dx, dy), abs=0.25)
    assert place.score > 0.9


@pytest.mark.parametrize("turn", [-4.0, 2.5])
def test_two_landmarks_give_the_turn(turn: float) -> None:
    place = locate(frame(5, -3, turn), taught(2))
    assert place.turn_deg == pytest.approx(turn, abs=0.4)
    assert (place.dx_px, place.dy_px) == pytest.approx((5, -3), abs=1.0)


@pytest.mark.parametrize(("dx", "dy", "turn"), [(6, -4, 0), (2.5, 1.5, 0), (4, 3, 3.0)])
def test_roi_follows_the_part(dx: float, dy: float, turn: float) -> None:
    roi = Roi(70, 90, 80, 60)
    as_taught = crop(frame(), roi).astype(int)
    moved = frame(dx, dy, turn)
    followed = crop(moved, roi, locate(moved, taught(2))).astype(int)
    left = crop(moved, roi).astype(int)
    assert np.abs(followed - as_taught).mean() < 0.35 * np.abs(left - as_taught).mean()


@pytest.mark.parametrize(
    ("method", "fault"),
    [(RegistrationMethod.TEMPLATE, ImageFault.ABSENT), (RegistrationMethod.FIDUCIAL, ImageFault.MOVED)],
)
def test_landmark_that_is_not_there_is_a_fault_of_the_picture(method: RegistrationMethod, fault: ImageFault) -> None:
    empty = np.full((SIDE, SIDE, 3), 90, np.uint8)
    noise = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    for pixels in (empty, noise):
        with pytest.raises(ImageFaultError, match=r"expected at least 0\.7") as caught:
            locate(pixels, taught(method=method))
        assert caught.value.fault is fault


def test_shift_beyond_the_recipe_means_that_the_camera_moved() -> None:
    assert locate(frame(9, 0), taught(max_shift_px=10)).dx_px == pytest.approx(9, abs=0.25)
    with pytest.raises(ImageFaultError, match=r"1[12]\.\d px off its place, expected at most 10") as caught:
        locate(frame(12, 0), taught(max_shift_px=10))
    assert caught.value.fault is ImageFault.MOVED


def test_landmark_outside_the_frame_says_so() -> None:
    with pytest.raises(ImageFaultError, match="reaches outside the frame of 60 × 60 px"):
        locate(frame()[:60, :60], taught(2))


def test_roi_that_would_leave_the_frame_is_never_judged_in_part() -> None:
    roi = Roi(150, 100, 80, 60)
    for place in (Place(11, 0, 0, 1), Place(10.5, 0, 0, 1), Place(0, 0, 40, 1, (40.0, 50.0)), Place(-151, 0, 0, 1)):
        with pytest.raises(ImageFaultError, match="reaches outside the frame of 240 × 240 px"):
            crop(frame(), roi, place)
    assert crop(frame(), roi, Place(10, 0, 0, 1)).shape == (60, 80, 3)


def test_outside_of_a_polygon_every_part_looks_alike() -> None:
    roi = Roi.around(((100, 80), (180, 80), (140, 160)))
    assert (roi.x_px, roi.y_px, roi.width_px, roi.height_px) == (100, 80, 81, 81)
    one, other = crop(frame(), roi), crop(frame(gain=0.5), roi)
    assert one[70, 2].tolist() == [OUTSIDE] * 3
    assert np.array_equal(one[70:, :10], other[70:, :10])
    assert np.array_equal(one[20, 40], frame()[100, 140])
    assert not np.array_equal(one[20, 40], other[20, 40])
