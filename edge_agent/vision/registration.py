# SPDX-License-Identifier: Apache-2.0
"""Finds where a part or a fixture really lies in the frame, so that the ROI follows it.

One landmark gives a shift; two give a shift and a turn. A landmark is searched near its taught place by normalised
cross-correlation (`cv2.TM_CCOEFF_NORMED`; Lewis 1995, "Fast Normalized Cross-Correlation"), which does not mind
brightness or contrast. What is not found, or lies further off than the recipe allows, is a fault of the picture. Pure.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault, RegistrationMethod
from edge_agent.errors import ImageFaultError

MIN_LANDMARK_PX: Final = 8


@dataclass(frozen=True, eq=False)
class Landmark:
    """What to look for, and where it lay when it was taught.

    Args:
        pattern: uint8 h × w grey, both at least 8 px.
        x_px: left edge in the frame.
        y_px: upper edge in the frame.
    """

    pattern: NDArray[np.uint8]
    x_px: int
    y_px: int


@dataclass(frozen=True, eq=False)
class Registration:
    """How a product is found in the frame.

    Args:
        method: FIDUCIAL: marks on the fixture, so not finding them means that the camera moved. TEMPLATE: a feature of
            the part itself, so not finding it means that the part is absent.
        landmarks: one or two.
        search_px: how far around its taught place each is looked for.
        min_score: correlation from which on it counts as found, −1 … 1.
        max_shift_px: furthest shift that is followed; beyond it the camera has moved.
    """

    method: RegistrationMethod
    landmarks: tuple[Landmark, ...]
    search_px: int
    min_score: float
    max_shift_px: float


@dataclass(frozen=True)
class Place:
    """Where the product lies against its taught place.

    A point of the taught frame lies now at `turn(point − pivot) + pivot + shift`.
    """

    dx_px: float
    dy_px: float
    turn_deg: float
    score: float
    pivot_px: tuple[float, float] = (0.0, 0.0)


def locate(pixels: NDArray[np.uint8], registration: Registration) -> Place:
    """Find the landmarks in a frame, uint8 H × W × 3 BGR.

    Raises:
        ImageFaultError: ABSENT or MOVED.
    """
    taught, found, scores = [], [], []
    for landmark in registration.landmarks:
        x_px, y_px, score = _find(pixels, landmark, registration)
        if not score >= registration.min_score:
            raise _not_found(score, registration)
        taught.append((float(landmark.x_px), float(landmark.y_px)))
        found.append((x_px, y_px))
        scores.append(score)
    pivot = taught[0]
    dx_px, dy_px = found[0][0] - pivot[0], found[0][1] - pivot[1]
    turn_deg = 0.0
    if len(found) > 1:
        before = math.atan2(taught[1][1] - taught[0][1], taught[1][0] - taught[0][0])
        now = math.atan2(found[1][1] - found[0][1], found[1][0] - found[0][0])
        turn_deg = math.degrees(math.remainder(now - before, math.tau))
    shift_px = max(math.dist(one, other) for one, other in zip(taught, found, strict=True))
    if shift_px > registration.max_shift_px:
        raise ImageFaultError(
            f"the landmark lies {shift_px:.1f} px off its place, expected at most {registration.max_shift_px:g}",
            remedy="put camera and fixture back in place, or teach the recipe anew",
            fault=ImageFault.MOVED,
        )
    return Place(dx_px, dy_px, turn_deg, min(scores), pivot)


def _find(pixels: NDArray[np.uint8], landmark: Landmark, registration: Registration) -> tuple[float, float, float]:
    """Upper left corner to a fraction of a pixel, and the score."""
    height, width = landmark.pattern.shape
    reach = registration.search_px
    left, top = max(0, landmark.x_px - reach), max(0, landmark.y_px - reach)
    window = pixels[top : landmark.y_px + height + reach, left : landmark.x_px + width + reach]
    if landmark.x_px + width > pixels.shape[1] or landmark.y_px + height > pixels.shape[0]:
        raise ImageFaultError(
            f"the landmark's place ({landmark.x_px}, {landmark.y_px}) reaches outside the frame of "
            f"{pixels.shape[1]} × {pixels.shape[0]} px",
            remedy="correct the recipe's landmarks, or the camera's resolution",
            fault=ImageFault.MOVED,
        )
    scores = cv2.matchTemplate(cv2.cvtColor(window, cv2.COLOR_BGR2GRAY), landmark.pattern, cv2.TM_CCOEFF_NORMED)
    # A flat window has no correlation: the division by its deviation gives no number.
    scores = np.nan_to_num(scores.astype(np.float64), nan=-1.0, posinf=-1.0, neginf=-1.0)
    row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return (
        left + float(column) + _peak(scores[row], int(column)),
        top + float(row) + _peak(scores[:, column], int(row)),
        float(scores[row, column]),
    )


def _peak(line: NDArray[Any], at: int) -> float:
    """Offset of the top of the parabola through a maximum and its neighbours, −0.5 … 0.5."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, here, after = float(line[at - 1]), float(line[at]), float(line[at + 1])
    bend = before - 2 * here + after
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (before - after) / bend))


def _not_found(score: float, registration: Registration) -> ImageFaultError:
    told = f"best match {score:.2f}, expected at least {registration.min_score:g}"
    if registration.method is RegistrationMethod.TEMPLATE:
        return ImageFaultError(
            f"the part was not found: {told}",
            remedy="check the trigger's timing and that the recipe is that of this product",
            fault=ImageFault.ABSENT,
        )
    return ImageFaultError(
        f"the fiducial was not found: {told}",
        remedy="check that nothing covers it and that camera and fixture are in place",
        fault=ImageFault.MOVED,
    )
