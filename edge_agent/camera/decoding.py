# SPDX-License-Identifier: Apache-2.0
"""Bytes to pixels, for cameras that send packed frames or bare JPEG/PNG.

A picture that cannot be read is not an error of the link: the part passed, so the frame is made without
pixels and says why. Only a broken *packing* raises, because then not even the trigger number is known.
Used by `camera.simulated` and `camera.mqtt`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.frames import FrameHeader, PictureEncoding, unpack_frame
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock


def frame_from_packed(payload: bytes, clock: Clock, *, shares_clock: bool, waited_s: float = 0.0) -> Frame:
    """Read a packed frame.

    Args:
        payload: as `contracts.frames.pack_frame` wrote it.
        clock: the station's clock.
        shares_clock: the camera's wall clock is the station's, so the way here counts into the latency. Otherwise
            the arrival counts as the moment of capture for durations.
        waited_s: how long ago the payload arrived here.

    Raises:
        CodecError: not a packed frame.
    """
    header, picture = unpack_frame(payload)
    now = clock.monotonic()
    # A camera clock ahead of ours must not give parts more time than they have: never below the wait.
    age_s = max(waited_s, (clock.now() - header.captured_at).total_seconds()) if shares_clock else waited_s
    pixels, fault = _pixels_of(header, picture)
    return Frame(
        pixels=pixels,
        captured_at=header.captured_at,
        captured_monotonic=now - age_s,
        trigger_number=header.trigger_number,
        part_id=header.part_id,
        product=header.product,
        is_simulated=header.is_simulated,
        fault=fault,
    )


def decode_picture(picture: bytes) -> tuple[NDArray[np.uint8] | None, str]:
    """JPEG or PNG bytes to uint8 H × W × 3 BGR; None and the reason when they cannot be read."""
    if not picture:
        return None, "the picture is empty"
    try:
        # IGNORE_ORIENTATION: an EXIF tag must not turn the part under the ROI.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(picture, dtype=np.uint8), flags)
    except cv2.error as error:
        return None, f"the picture of {len(picture)} bytes cannot be decoded: {error}"
    if pixels is None:
        return None, f"the picture of {len(picture)} bytes cannot be decoded"
    return pixels.astype(np.uint8, copy=False), ""


def to_bgr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey (H × W or H × W × 1) to H × W × 3; BGR stays as it is."""
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)


def _pixels_of(header: FrameHeader, picture: bytes) -> tuple[NDArray[np.uint8] | None, str]:
    if header.encoding is PictureEncoding.RAW:
        if header.channels == 2:
            return None, "raw pictures have 1 or 3 channels, this one has 2"
        shape = (header.height_px, header.width_px, header.channels)
        return to_bgr(np.frombuffer(picture, dtype=np.uint8).reshape(shape)), ""
    pixels, fault = decode_picture(picture)
    if pixels is not None and pixels.shape[:2] != (header.height_px, header.width_px):
        return None, f"the header says {header.height_px} × {header.width_px} px, the picture has {pixels.shape[:2]}"
    return pixels, fault
