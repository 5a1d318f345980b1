# SPDX-License-Identifier: Apache-2.0
"""A crop with its heatmap laid over, as one PNG.

Pure functions on encoded pictures; a picture that cannot be read gives None, never an error on a page.
Called by the pages through the feed's cache, so once a picture.
"""

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MAX_SIDE_PX: Final = 1024
# Stations write grey 0.67 for a place that reaches the NG limit; below this nothing is coloured.
_CLEAR_BELOW: Final = 0.4
# From clear to deep orange over yellow: reads on grey metal and on green boards, and without colour vision.
_STOPS: Final = np.array([[255, 237, 160], [254, 178, 76], [240, 59, 32], [189, 0, 38]], dtype=np.float32)


def overlay(crop: bytes, heatmap: bytes, *, strength: float = 0.62) -> bytes | None:
    """The crop with the hot places coloured. Both are PNG or JPEG; the heatmap may be smaller and grey."""
    picture = _open(crop)
    heat = _open(heatmap)
    if picture is None or heat is None:
        return None
    base = np.asarray(picture.convert("RGB"), dtype=np.float32)
    sized = heat.convert("L").resize(picture.size, Image.Resampling.BILINEAR)
    grey: NDArray[np.float32] = np.asarray(sized, dtype=np.float32) / np.float32(255)
    alpha = (strength * np.clip((grey - _CLEAR_BELOW) / 0.3, 0, 1))[..., None]
    mixed: NDArray[np.float32] = (base * (1 - alpha) + _colours(grey) * alpha).astype(np.float32)
    return _encode(Image.fromarray(mixed.clip(0, 255).astype(np.uint8)))


def _colours(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    place = np.clip((grey - _CLEAR_BELOW) / (1 - _CLEAR_BELOW), 0, 1) * (len(_STOPS) - 1)
    low = np.minimum(place.astype(np.int64), len(_STOPS) - 2)
    part = (place - low)[..., None]
    mixed: NDArray[np.float32] = (_STOPS[low] * (1 - part) + _STOPS[low + 1] * part).astype(np.float32)
    return mixed


def _open(encoded: bytes) -> Image.Image | None:
    try:
        picture = Image.open(io.BytesIO(encoded))
        picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
        picture.load()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    return picture


def _encode(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def as_url(encoded: bytes) -> str:
    """A picture as a `data:` address for an `<img>`."""
    kind = "jpeg" if encoded[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
