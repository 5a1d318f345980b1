# SPDX-License-Identifier: Apache-2.0
"""Crops and heatmaps as bytes of a picture file. Pure: arrays in, bytes out.

Stores nothing. Called by the evidence recorder on its own thread.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Level 1: four times faster than the default for a tenth more bytes. One filter instead of a choice of five by row
# takes two thirds of the time that is left, for the same bytes; an older OpenCV does not know of it.
_FILTER: Final = getattr(cv2, "IMWRITE_PNG_FILTER", None)
_FAST: Final = (cv2.IMWRITE_PNG_COMPRESSION, 1, *(() if _FILTER is None else (_FILTER, cv2.IMWRITE_PNG_FILTER_UP)))
# 255 stands for this many times the NG limit, so that the limit itself is visible at 170.
_HEADROOM: Final = 1.5
_HEATMAP_MAX_PX: Final = 512
# At most so much more than its pixels: the header of a plain picture, and rows filled up to four bytes.
PLAIN_EXTRA_BYTES: Final = 16 * 1024


def encode_crop(crop: NDArray[np.uint8]) -> bytes:
    """PNG of a crop, uint8 H × W × 3 BGR or H × W grey.

    Raises:
        ValueError: OpenCV cannot encode it.
    """
    return _png(crop)


def encode_plain(crop: NDArray[np.uint8]) -> bytes:
    """BMP of a crop, uint8 H × W × 3 BGR: nothing compressed, a fiftieth of a PNG's processor time.

    Raises:
        ValueError: OpenCV cannot encode it.
    """
    return _encoded(".bmp", crop)


def png_of(plain: bytes) -> bytes:
    """The PNG of the very crop that `encode_plain` was given.

    Raises:
        ValueError: these are no bytes of a picture.
    """
    decoded = cv2.imdecode(np.frombuffer(plain, dtype=np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        msg = f"picture of {len(plain)} bytes cannot be decoded"
        raise ValueError(msg)
    return encode_crop(np.asarray(decoded, dtype=np.uint8))


def encode_heatmap(heatmap: NDArray[np.float32], crop_hw: tuple[int, int], ng_limit: float | None) -> bytes:
    """8-bit grey PNG of a heatmap, of the same aspect as its crop, at most 512 px long.

    Grey value = 255 · clip(heatmap ÷ ng_limit ÷ 1.5, 0, 1): equal grey means equal severity within a package. Without
    a usable limit the heatmap's own maximum takes its place.

    Args:
        heatmap: float32 h × w on the score's scale.
        crop_hw: height and width of the crop in px.
        ng_limit: NG limit of the package that judged.

    Raises:
        ValueError: not a picture, or OpenCV cannot encode it.
    """
    if heatmap.ndim != 2 or not heatmap.size:
        msg = f"heatmap: expected h × w, got shape {heatmap.shape}"
        raise ValueError(msg)
    finite = np.nan_to_num(heatmap.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(ng_limit) * _HEADROOM if ng_limit is not None and ng_limit > 0 else float(finite.max())
    scaled = np.clip(finite / top, 0.0, 1.0) if top > 0 else np.zeros_like(finite)
    shrink = min(1.0, _HEATMAP_MAX_PX / max(crop_hw))
    size = (max(1, round(crop_hw[1] * shrink)), max(1, round(crop_hw[0] * shrink)))
    grey = np.asarray(np.rint(255.0 * scaled), dtype=np.uint8)
    return _png(np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8))


def _png(picture: NDArray[np.uint8]) -> bytes:
    return _encoded(".png", picture, _FAST)


def _encoded(ending: str, picture: NDArray[np.uint8], parameters: tuple[int, ...] = ()) -> bytes:
    try:
        is_done, encoded = cv2.imencode(ending, picture, parameters)
    except cv2.error as error:
        msg = f"picture of {picture.dtype} {picture.shape} cannot be encoded: {error}"
        raise ValueError(msg) from error
    if not is_done:
        msg = f"picture of {picture.dtype} {picture.shape} cannot be encoded"
        raise ValueError(msg)
    return encoded.tobytes()
