# SPDX-License-Identifier: Apache-2.0
"""A frame as bytes: a small header and the picture, for the `frame` topic and for simulated cameras.

Layout: `SLF1`, header length (u32, big endian), header (JSON of `FrameHeader`), picture bytes.
Cameras that know nothing of us may publish a bare JPEG or PNG on the `frame` topic instead.
"""

import struct
from enum import StrEnum
from typing import Final

from pydantic import Field, ValidationError

from contracts.base import Shape, UtcTime
from contracts.codec import CodecError
from contracts.ids import Name, PartId

MAGIC: Final = b"SLF1"
MAX_HEADER_BYTES: Final = 4096
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


class PictureEncoding(StrEnum):
    """How the picture bytes are to be read. RAW: uint8, height × width × channels, BGR or grey."""

    JPEG = "jpeg"
    PNG = "png"
    RAW = "raw"


class FrameHeader(Shape):
    """What rides with a frame.

    `trigger_number` counts the parts that passed the camera, with no gaps at the camera; a gap at the
    station is a part that it did not see. `part_id` names the physical thing when the line knows it.
    """

    trigger_number: int = Field(ge=0, le=2**53)
    captured_at: UtcTime
    product: Name | None = None
    part_id: PartId | None = None
    encoding: PictureEncoding
    height_px: int = Field(ge=1, le=32768)
    width_px: int = Field(ge=1, le=32768)
    channels: int = Field(default=3, ge=1, le=3)
    is_simulated: bool = False


def pack_frame(header: FrameHeader, picture: bytes) -> bytes:
    """Header and picture as one message."""
    head = header.model_dump_json(exclude_none=True).encode()
    return MAGIC + struct.pack(">I", len(head)) + head + picture


def unpack_frame(payload: bytes) -> tuple[FrameHeader, bytes]:
    """Read a packed frame.

    Raises:
        CodecError: not a packed frame, out of bounds, or a raw picture of the wrong length.
    """
    if payload[:4] != MAGIC or len(payload) < 8 or len(payload) > MAX_FRAME_BYTES:
        msg = (
            f"frame: expected {MAGIC!r} and at most {MAX_FRAME_BYTES} bytes, got {payload[:4]!r}, {len(payload)} bytes"
        )
        raise CodecError(msg)
    (length,) = struct.unpack(">I", payload[4:8])
    if length > MAX_HEADER_BYTES or 8 + length > len(payload):
        msg = f"frame: header length {length} is out of bounds"
        raise CodecError(msg)
    try:
        header = FrameHeader.model_validate_json(payload[8 : 8 + length])
    except ValidationError as error:
        msg = f"frame header: {error.errors(include_url=False, include_input=False)[0]['msg']}"
        raise CodecError(msg) from error
    picture = payload[8 + length :]
    expected = header.height_px * header.width_px * header.channels
    if header.encoding is PictureEncoding.RAW and len(picture) != expected:
        msg = f"frame: raw picture of {expected} bytes expected, got {len(picture)}"
        raise CodecError(msg)
    return header, picture
