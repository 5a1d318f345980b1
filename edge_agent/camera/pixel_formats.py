# SPDX-License-Identifier: Apache-2.0
"""Bytes of a GenICam camera to BGR pixels, for the 8-bit formats that a station takes.

Names and codes are those of the GenICam Pixel Format Naming Convention (PFNC). Formats of more than 8 bits are not
taken: the models see 8 bits, and which 8 of 12 they should be is a question of exposure. Used by `camera.genicam`.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# PFNC names a Bayer pattern by the first two pixels of the first row; so do these names of OpenCV, whose older ones
# (COLOR_BayerBG2BGR for RG…) name it by the second row.
_CONVERSIONS: Final[dict[str, tuple[int, int, int | None]]] = {
    "Mono8": (0x01080001, 1, cv2.COLOR_GRAY2BGR),
    "BayerGR8": (0x01080008, 1, cv2.COLOR_BayerGRBG2BGR),
    "BayerRG8": (0x01080009, 1, cv2.COLOR_BayerRGGB2BGR),
    "BayerGB8": (0x0108000A, 1, cv2.COLOR_BayerGBRG2BGR),
    "BayerBG8": (0x0108000B, 1, cv2.COLOR_BayerBGGR2BGR),
    "RGB8": (0x02180014, 3, cv2.COLOR_RGB2BGR),
    "BGR8": (0x02180015, 3, None),
}
_NAMES: Final = {code: name for name, (code, _, _) in _CONVERSIONS.items()}
CODES: Final = {name: code for name, (code, _, _) in _CONVERSIONS.items()}


def to_bgr(
    content: bytes, code: int, height_px: int, width_px: int, row_padding_bytes: int = 0
) -> tuple[NDArray[np.uint8] | None, str]:
    """The picture in a buffer.

    Args:
        content: rows one after the other, each followed by its padding; more at the end is ignored.
        code: PFNC code of the pixel format.
        height_px: rows.
        width_px: pixels a row.
        row_padding_bytes: bytes after each row that belong to no pixel.

    Returns:
        uint8 H × W × 3 BGR in memory of its own; or None and the reason why it cannot be made.
    """
    name = _NAMES.get(code)
    if name is None:
        return None, f"pixel format 0x{code:08x} is not one of {', '.join(_CONVERSIONS)}"
    _, channels, conversion = _CONVERSIONS[name]
    row_bytes = width_px * channels + row_padding_bytes
    if height_px < 2 or width_px < 2 or len(content) < height_px * row_bytes - row_padding_bytes:
        return None, f"{len(content)} bytes are no picture of {height_px} × {width_px} px in {name}"
    missing = height_px * row_bytes - len(content)
    if missing > 0:  # the last row came without its padding
        content += bytes(missing)
    rows = np.frombuffer(content, dtype=np.uint8, count=height_px * row_bytes).reshape(height_px, row_bytes)
    rows = rows[:, : width_px * channels]
    pixels = rows if channels == 1 else rows.reshape(height_px, width_px, channels)
    if conversion is None:
        return np.array(pixels), ""
    return cv2.cvtColor(np.ascontiguousarray(pixels), conversion).astype(np.uint8, copy=False), ""
