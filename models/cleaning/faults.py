# SPDX-License-Identifier: Apache-2.0
"""Pictures that are not fit to teach, by their light and sharpness: by what no product looks like, and beside the rest.

The first by the station's own bounds (`edge_agent.vision.quality`, whose values are repeated here since this room may
not import that one). The second because a set of pictures of one product knows how bright and how sharp it is: a
picture far from the middle of the set stands out, by the modified z-score with 3.5 (Iglewicz and Hoaglin, 1993),
which holds while fewer than half of the pictures are bad. Pure. Called by `command`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.cleaning.measures import Measures

# Of the station's guard.
MIN_BRIGHTNESS: Final = 2.0
MAX_SATURATED: Final = 0.98
MIN_CONTRAST: Final = 1.0
MOST_Z: Final = 3.5
# Fewer pictures do not say what is usual.
LEAST_PICTURES: Final = 10
# Beyond the z-score a difference must also be one that matters: pictures of a very even set differ by next to nothing.
_DARKER: Final = 0.5
_WHITER: Final = 0.2
_SOFTER: Final = 0.05
# A normal deviation is 1.4826 times the median absolute one.
_NORMAL: Final = 0.6745


class Fault(StrEnum):
    """Why a picture should be looked at before it teaches; the words of `ImageFault` where stations have one."""

    TOO_DARK = "TOO_DARK"
    SATURATED = "SATURATED"
    EMPTY = "EMPTY"
    BLURRED = "BLURRED"
    FROZEN = "FROZEN"
    MOVED = "MOVED"
    DUPLICATE = "DUPLICATE"
    NEAR_DUPLICATE = "NEAR_DUPLICATE"


@dataclass(frozen=True)
class Finding:
    """One reason to look at one picture, `row` in the set, with what was found and what was expected."""

    row: int
    fault: Fault
    reason: str


def modified_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each value [n] from the median, in robust standard deviations."""
    middle = float(np.median(values))
    spread = float(np.median(np.abs(values - middle)))
    # An even set has no spread at all; the smallest difference is then far, and the bounds that matter decide.
    return np.asarray(_NORMAL * (values - middle) / max(spread, 1e-9), np.float64)


def find_unfit(measured: Sequence[Measures]) -> list[Finding]:
    """Dark, saturated, empty and blurred pictures, each by its first reason, in the order of the pictures."""
    brightness = np.array([each.brightness for each in measured], np.float64)
    white = np.array([each.saturated for each in measured], np.float64)
    contrast = np.array([each.contrast for each in measured], np.float64)
    blur = np.array([each.blur for each in measured], np.float64)
    is_usual_known = len(measured) >= LEAST_PICTURES
    middle = {"light": 0.0, "white": 0.0, "blur": 0.0}
    is_darker = is_whiter = is_softer = np.zeros(len(measured), np.bool_)
    if is_usual_known:
        middle = {"light": float(np.median(brightness)), "white": float(np.median(white))}
        # Light is a factor: half as bright is as far as twice as bright.
        is_darker = (modified_z(np.log(brightness + 1)) < -MOST_Z) & (brightness < _DARKER * middle["light"])
        is_whiter = (modified_z(white) > MOST_Z) & (white > middle["white"] + _WHITER)
        # What is dark, white or empty has no edges to tell sharpness by, and would move the middle.
        fit = (contrast >= MIN_CONTRAST) & (brightness >= MIN_BRIGHTNESS) & (white <= MAX_SATURATED)
        if np.count_nonzero(fit) >= LEAST_PICTURES:
            middle["blur"] = float(np.median(blur[fit]))
            is_softer = np.zeros(len(measured), np.bool_)
            is_softer[fit] = (modified_z(blur[fit]) > MOST_Z) & (blur[fit] > middle["blur"] + _SOFTER)
    found = []
    for row in range(len(measured)):
        reasons = (
            (
                brightness[row] < MIN_BRIGHTNESS,
                Fault.TOO_DARK,
                f"brightness {brightness[row]:.1f}, expected at least {MIN_BRIGHTNESS:g}",
            ),
            (
                white[row] > MAX_SATURATED,
                Fault.SATURATED,
                f"{white[row]:.1%} of it is white, expected at most {MAX_SATURATED:.0%}",
            ),
            (
                contrast[row] < MIN_CONTRAST,
                Fault.EMPTY,
                f"contrast {contrast[row]:.2f}, expected at least {MIN_CONTRAST:g}",
            ),
            (
                is_darker[row],
                Fault.TOO_DARK,
                f"brightness {brightness[row]:.1f}, half of the pictures have more than {middle['light']:.1f}",
            ),
            (
                is_whiter[row],
                Fault.SATURATED,
                f"{white[row]:.1%} of it is white, half of the pictures have less than {middle['white']:.1%}",
            ),
            (
                is_softer[row],
                Fault.BLURRED,
                f"blur {blur[row]:.2f}, half of the pictures have less than {middle.get('blur', 0.0):.2f}",
            ),
        )
        said = next(((fault, reason) for applies, fault, reason in reasons if applies), None)
        if said is not None:
            found.append(Finding(row, *said))
    return found
