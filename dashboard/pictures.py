# SPDX-License-Identifier: Apache-2.0
"""A crop with its heatmap laid over, or with a region drawn on it, as one PNG.

Pure functions on encoded pictures; a picture that cannot be read gives None, never an error on a page.
Called by the pages through the feed's cache, so once a picture.
"""

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError

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


def with_region(crop: bytes, origin_xy: tuple[int, int], xywh: tuple[int, int, int, int]) -> bytes | None:
    """The crop with a rectangle where the region lies. What the region has beyond the crop is shown grey.

    Args:
        crop: PNG or JPEG, cut out of the frame.
        origin_xy: upper left corner of the crop in the frame, in px.
        xywh: the region in px of the frame.
    """
    try:
        width, height = Image.open(io.BytesIO(crop)).size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    picture = _open(crop)
    if picture is None:
        return None
    scale = picture.width / width
    x, y = xywh[0] - origin_xy[0], xywh[1] - origin_xy[1]
    left, top, right, bottom = min(0, x), min(0, y), max(width, x + xywh[2]), max(height, y + xywh[3])
    # A region far from the crop must not make a picture without end.
    scale = min(scale, MAX_SIDE_PX / max(right - left, bottom - top))
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    shown = Image.new("RGB", size, (196, 202, 209))
    sized = picture.convert("RGB").resize((max(1, round(width * scale)), max(1, round(height * scale))))
    shown.paste(sized, (round(-left * scale), round(-top * scale)))
    corners = [(each - low) * scale for each, low in ((x, left), (y, top), (x + xywh[2], left), (y + xywh[3], top))]
    box = (corners[0], corners[1], max(corners[0], corners[2] - 1), max(corners[1], corners[3] - 1))
    ImageDraw.Draw(shown).rectangle(box, outline=(221, 155, 0), width=max(2, max(size) // 200))
    return _encode(shown)


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
