# SPDX-License-Identifier: Apache-2.0
"""What is measured of one picture before a set of them is cleaned: light, sharpness, a hash of its look, its edges.

Pure; judges nothing (`faults`, `likeness` and `registration` do). Called by `command` and `leaks`.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# From here on an 8-bit value holds no structure any more, as at the station.
SATURATED_FROM: Final = 250
HASH_BITS: Final = 64
EDGES_SIDE: Final = 64
_HASH_SIDE: Final = 32
# Sensor noise looks sharp however blurred the part is; taken off before sharpness is measured.
_DENOISE_PX: Final = 0.7
_REBLUR_PX: Final = 9

Edges = NDArray[np.float32]


@dataclass(frozen=True)
class Measures:
    """Of one picture.

    Attributes:
        brightness: mean grey, 0–255.
        saturated: share of pixels at or above 250, 0–1.
        contrast: largest standard deviation of the three colours.
        blur: share of the edges that a further blur hardly weakens, 0 (sharp) … 1; see `blur_of`.
        look: perceptual hash, bool [64]; see `look_of`.
        pixels: SHA-256 of shape and pixels: two files with the same pixels have the same one.
        edges: strength of edges, float32 [64, 64].
    """

    brightness: float
    saturated: float
    contrast: float
    blur: float
    look: NDArray[np.bool_]
    pixels: bytes
    edges: Edges


def measure_picture(picture: NDArray[np.uint8]) -> Measures:
    """All measures of an uint8 H × W × 3 BGR picture."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).data)
    return Measures(
        brightness=float(grey.mean()),
        saturated=float(np.count_nonzero(grey >= SATURATED_FROM)) / grey.size,
        contrast=float(picture.reshape(-1, 3).std(0, dtype=np.float64).max()),
        blur=blur_of(grey),
        look=look_of(grey),
        pixels=digest.digest(),
        edges=edges_of(grey),
    )


def blur_of(grey: NDArray[np.uint8]) -> float:
    """How blurred an uint8 H × W picture is, 0 … 1, whatever it shows.

    Blurring a sharp picture once more weakens its edges, a blurred one hardly (Crete et al., The blur effect, 2007):
    the share of the sum of edges that remains, along the axis where more does. The variance of the Laplacian, which
    stations report, depends on how much texture a part has.
    """
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _DENOISE_PX)
    remaining = []
    for axis, kernel in ((0, (1, _REBLUR_PX)), (1, (_REBLUR_PX, 1))):
        before = np.abs(np.diff(soft, axis=axis))
        after = np.abs(np.diff(cv2.blur(soft, kernel), axis=axis))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        # Without any edge nothing says how sharp it is: an empty picture is another fault.
        remaining.append(0.0 if total == 0 else 1 - lost / total)
    return max(remaining)


def look_of(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Perceptual hash, bool [64]: the signs of the coarse cosine transform around its median (pHash: Zauner, 2010).

    Survives another size, light and compression; not a crop or a turn.
    """
    small = cv2.resize(grey, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    coarse = np.asarray(cv2.dct(small), np.float32)[:8, :8].ravel()
    # The first is the mean, which says nothing of the look and would move the median.
    return coarse > float(np.median(coarse[1:]))


def look_of_picture(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """`look_of` an uint8 H × W × 3 BGR picture."""
    return look_of(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False))


def edges_of(grey: NDArray[np.uint8]) -> Edges:
    """Strength of edges on a grid of 64 × 64, with its mean taken off; zero where nothing is seen."""
    small = cv2.resize(grey, (EDGES_SIDE, EDGES_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    strength = np.hypot(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1))
    return np.asarray(strength - strength.mean(), np.float32)
