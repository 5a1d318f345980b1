# SPDX-License-Identifier: Apache-2.0
"""Light and focus of one picture, in figures and in words, for the person who sets up lamp and lens. Pure.

Judges no part and is no guard: the loop has its own test for empty pictures. Used by `init`, `doctor` and the page.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from edge_agent.commissioning.findings import Finding, ok, warn
from edge_agent.vision.measures import contrast

# 8-bit values: at or below is black, at or above is burnt out; nothing can be told apart there.
_BLACK: Final = 5
_BURNT: Final = 250
_DARK_BELOW: Final = 30.0
_BRIGHT_ABOVE: Final = 225.0
_MOST_BURNT_SHARE: Final = 0.05
_MOST_BLACK_SHARE: Final = 0.6
# Crété-Roffet scale. Medians of pictures of PCBs, magnetic tiles and ball screws: 0.24 – 0.52 as they came,
# 0.38 – 0.67 blurred by a Gaussian of 1 px, 0.58 – 0.82 by one of 2 px.
_SHARP_BELOW: Final = 0.45
_SOFT_BELOW: Final = 0.65
_REBLUR_PX: Final = 11
_FOCUS_PX: Final = 1024
# Below this there is no edge that could be sharp.
_FLAT: Final = 3.0


@dataclass(frozen=True)
class PictureMeasures:
    """Of the model's field of view.

    Args:
        brightness: mean grey, 0 – 255.
        contrast: largest standard deviation of the three colours, 8-bit values.
        black_share: share of pixels with grey ≤ 5, 0 – 1.
        burnt_share: share of pixels with a colour ≥ 250, 0 – 1.
        sharpness: variance of the Laplacian of grey; larger is sharper, comparable only on the same scene.
        blur: perceived blur after Crété-Roffet et al. 2007, 0 (sharp) – 1, comparable between scenes.
    """

    brightness: float
    contrast: float
    black_share: float
    burnt_share: float
    sharpness: float
    blur: float


def measure_picture(view_bgr: NDArray[np.uint8]) -> PictureMeasures:
    """Measure an uint8 H × W × 3 BGR picture: its light as a whole, its focus in the middle 1024 × 1024 px at most."""
    grey = np.asarray(cv2.cvtColor(view_bgr, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    middle = _middle(grey)
    _, edges = cv2.meanStdDev(cv2.Laplacian(middle, cv2.CV_16S))
    return PictureMeasures(
        brightness=round(float(grey.mean()), 1),
        contrast=round(contrast(view_bgr), 2),
        black_share=round(_share(cv2.inRange(grey, 0, _BLACK)), 4),
        burnt_share=round(1.0 - _share(cv2.inRange(view_bgr, (0, 0, 0), (_BURNT - 1,) * 3)), 4),
        sharpness=round(float(edges.flat[0]) ** 2, 1),
        blur=round(_perceived_blur(middle), 3),
    )


def light(measures: PictureMeasures) -> Finding:
    """What is to be said of the light."""
    name = "light"
    figures = (
        f"brightness {measures.brightness:.0f} of 255, {measures.black_share:.0%} black, "
        f"{measures.burnt_share:.0%} burnt out"
    )
    if measures.brightness < _DARK_BELOW or measures.black_share > _MOST_BLACK_SHARE:
        remedy = "raise exposure time or lamp power, or open the iris, until the part is about half as bright as white"
        return warn(name, f"too dark: {figures}", remedy)
    if measures.brightness > _BRIGHT_ABOVE or measures.burnt_share > _MOST_BURNT_SHARE:
        remedy = "lower exposure time, gain or lamp power until under 5 % of the picture is burnt out"
        return warn(name, f"too bright: {figures}", remedy)
    return ok(name, f"well lit: {figures}")


def focus(measures: PictureMeasures, reference: PictureMeasures | None = None) -> Finding:
    """What is to be said of the focus, against the scale and, where there is one, against the test picture."""
    name = "focus"
    scale = f"sharp is below {_SHARP_BELOW:g}, blurred above {_SOFT_BELOW:g}"
    figures = f"blur {measures.blur:.2f} ({scale}; Crété-Roffet 2007)"
    remedy = "turn the focus ring while watching `sharpness` on the station's page, until it is at its highest"
    if measures.contrast < _FLAT:
        return warn(
            name, "cannot be told: the picture shows no edges", "put a part under the camera and see to the light"
        )
    if measures.blur >= _SOFT_BELOW:
        return warn(name, f"blurred: {figures}", remedy)
    if reference is not None and measures.sharpness < 0.5 * reference.sharpness:
        found = f"sharpness {measures.sharpness:.0f} is less than half of the test picture's {reference.sharpness:.0f}"
        return warn(name, f"{found}; {figures}", f"{remedy}; if the scene has changed, take a new test picture")
    if measures.blur >= _SHARP_BELOW:
        return ok(name, f"a little soft: {figures}")
    return ok(name, f"sharp: {figures}")


def _share(mask: MatLike) -> float:
    return cv2.countNonZero(mask) / mask.size


def _middle(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Large pictures would cost the judge its core; scaling them down would hide the blur that is looked for."""
    height, width = grey.shape
    top, left = max(0, height - _FOCUS_PX) // 2, max(0, width - _FOCUS_PX) // 2
    return grey[top : top + _FOCUS_PX, left : left + _FOCUS_PX]


def _perceived_blur(grey: NDArray[np.uint8]) -> float:
    """Blur after F. Crété-Roffet, T. Dolmiere, P. Ladret, M. Nicolas, "The blur effect", SPIE 6492 (2007).

    A sharp picture loses much of its edges when it is blurred once more, a blurred one little. The worse of the two
    directions counts.
    """
    picture = grey.astype(np.float32)
    found = 0.0
    for x_order, y_order, kernel in ((1, 0, (_REBLUR_PX, 1)), (0, 1, (1, _REBLUR_PX))):
        again = cv2.blur(picture, kernel, borderType=cv2.BORDER_REFLECT)
        edges = np.abs(cv2.Sobel(picture, cv2.CV_32F, x_order, y_order))
        left = np.abs(cv2.Sobel(again, cv2.CV_32F, x_order, y_order))
        total = float(edges.sum(dtype=np.float64))
        lost = float(np.maximum(0.0, edges - left).sum(dtype=np.float64))
        found = max(found, 1.0 - lost / total if total > 0 else 1.0)
    return found
