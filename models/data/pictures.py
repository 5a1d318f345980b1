# SPDX-License-Identifier: Apache-2.0
"""One picture file to pixels, within bounds, exactly as a station decodes it.

The header is read before anything is decoded, so that a small file of a huge picture cannot take the machine down.

| file | what is done |
|---|---|
| 16 bits a channel | the upper byte is taken (65,535 becomes 255), as at the station; one that only uses the lower bits would be black there and is refused |
| EXIF orientation | not applied, as at the station: cameras of a line write none, and a tag must not turn the part |
| alpha | dropped; the colour beneath it counts |
| CMYK | turned into BGR without a colour profile |
| several frames or pages | refused: which of them shows the part is not ours to guess |
| broken off | refused before decoding: not every version of the decoder notices |
| another extension | the content counts, not the name |

Keeps no pixels and judges nothing. Called by `parts`, `layouts`, `measuring`, `reporting` and `training`.
"""  # noqa: E501 -- a table

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.headers import Header, read_header
from models.errors import InputError
from models.settings import Settings

Picture = NDArray[np.uint8]
# As `edge_agent.camera.decoding` does: what is learnt must be what is seen.
_AS_AT_THE_STATION: Final = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# A 16-bit picture whose brightest upper byte lies below this holds 13 bits or fewer.
_DARKEST_PEAK: Final = 32
_HALF_GREY: Final = 128


@dataclass(frozen=True)
class Opened:
    """A picture, and what was done to bring it to 8-bit BGR that its owner should know."""

    pixels: Picture
    remarks: tuple[str, ...] = ()


def told(path: Path) -> str:
    """A path as people find it again: the last three names, unprintable characters spelt out."""
    text = "/".join(path.parts[-3:])
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def read_bytes(path: Path, most_bytes: int, *, what: str = "a picture") -> bytes:
    """A regular file, whole, at most this large.

    Raises:
        InputError: missing, not a file, no permission, empty or too large; names the file and the remedy.
    """
    try:
        # Opened first, then asked: what is checked is what is read. A named pipe must not hold us for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            mode, size = (status := os.fstat(file.fileno())).st_mode, status.st_size
            if S_ISREG(mode) and size <= most_bytes:
                content = file.read(most_bytes + 1)
    except IsADirectoryError as error:
        raise InputError(f"{told(path)}: a folder, not {what}; rename it or move it away") from error
    except PermissionError as error:
        raise InputError(f"{told(path)}: no permission to read it; allow it (chmod u+r) or run as its owner") from error
    except OSError as error:
        raise InputError(f"{told(path)}: cannot be read ({error.strerror}); check the path") from error
    if S_ISDIR(mode):
        raise InputError(f"{told(path)}: a folder, not {what}; rename it or move it away")
    if not S_ISREG(mode):
        raise InputError(f"{told(path)}: not a regular file; move it away")
    if size > most_bytes or len(content) > most_bytes:
        raise InputError(f"{told(path)}: expected at most {most_bytes} bytes, got {size}; make it smaller")
    if not content:
        raise InputError(f"{told(path)}: the file is empty; copy or take it again")
    return content


def read_picture(path: Path, settings: Settings, *, sha256: str | None = None) -> Picture:
    """One picture as uint8 BGR [h, w, 3]; see `open_picture`."""
    return open_picture(path, settings, sha256=sha256).pixels


def open_picture(path: Path, settings: Settings, *, sha256: str | None = None) -> Opened:
    """One picture as uint8 BGR [h, w, 3], with remarks; the rules are in the module.

    Args:
        path: the file.
        settings: the bounds.
        sha256: digest of the picture that was judged, hex; None: any.

    Raises:
        InputError: cannot be used; names the file, says what was expected, what came and what to do.
    """
    content = read_bytes(path, settings.max_picture_bytes)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{told(path)}: its SHA-256 is not the judged picture's; it was altered or replaced")
    header = _fit_header(path, content, settings)
    pixels = _decode(path, content, header, _AS_AT_THE_STATION).astype(np.uint8, copy=False)
    if header.bits > 8 and pixels.max() < _DARKEST_PEAK:
        used = 8 + int(pixels.max()).bit_length()
        raise InputError(
            f"{told(path)}: 16 bits a channel, of which only the lower {used} are used; a station would see it black. "
            "Save it with 8 bits, as the camera sends it to the station"
        )
    return Opened(pixels, _remarks(header))


def read_mask_picture(path: Path, settings: Settings) -> NDArray[np.uint8]:
    """A mask as uint8 grey [h, w], decoded by the same rules; of 16 bits, all that is not 0 becomes 255.

    Raises:
        InputError: cannot be used; names the file and the remedy.
    """
    content = read_bytes(path, settings.max_picture_bytes)
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    header = _fit_header(path, content, settings)
    if header.bits > 8:
        # Such masks number their regions from 1 on; the upper byte of those is 0.
        deep = _decode(path, content, header, flags | cv2.IMREAD_ANYDEPTH)
        return np.where(deep > 0, 255, 0).astype(np.uint8)
    return _decode(path, content, header, flags).astype(np.uint8, copy=False)


def marked(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels a mask, uint8 [h, w], marks as defect, bool [h, w]: from half grey on, where any are that bright.

    Else all that are not black. Masks are kept as 0/255, often with the rings of a lossy format around the edge, or as
    0/1.
    """
    return mask >= _HALF_GREY if mask.max() >= _HALF_GREY else mask > 0


def _fit_header(path: Path, content: bytes, settings: Settings) -> Header:
    header = read_header(content)
    if header is None:
        raise InputError(f"{told(path)}: not a picture that can be read; save it as PNG or JPEG")
    size = f"{header.width_px} × {header.height_px} px"
    if header.width_px * header.height_px > settings.max_picture_px:
        raise InputError(
            f"{told(path)}: expected at most {settings.max_picture_px} px in all, got {size}; "
            "cut out the field with the part, or save it smaller"
        )
    if min(header.width_px, header.height_px) < settings.min_picture_side_px:
        raise InputError(
            f"{told(path)}: expected at least {settings.min_picture_side_px} px a side, got {size}; "
            "take the picture larger"
        )
    if header.frames > 1:
        raise InputError(
            f"{told(path)}: a {header.kind} of {header.frames} frames; save the one that shows the part as PNG"
        )
    if not header.is_whole:
        raise InputError(f"{told(path)}: the {header.kind} breaks off before its end; copy it again")
    return header


def _decode(path: Path, content: bytes, header: Header, flags: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"{told(path)}: the {header.kind} cannot be decoded; save it as PNG or JPEG") from error
    if pixels is None:
        raise InputError(f"{told(path)}: the {header.kind} cannot be decoded; save it as PNG or JPEG")
    if pixels.shape[:2] != (header.height_px, header.width_px):
        raise InputError(
            f"{told(path)}: its header says {header.width_px} × {header.height_px} px, "
            f"its pixels are {pixels.shape[1]} × {pixels.shape[0]}; save it as PNG"
        )
    if pixels.dtype == np.uint16:
        return np.ascontiguousarray(pixels, dtype=np.uint16)
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _remarks(header: Header) -> tuple[str, ...]:
    said = (
        (header.bits > 8, f"{header.bits} bits a channel, brought to 8 by their upper byte, as at the station"),
        (header.orientation != 1, "an EXIF tag asks to turn the picture; not turned, as at the station"),
        (header.has_alpha, "an alpha channel, dropped; the colour beneath it counts"),
        (header.is_cmyk, "CMYK, turned into BGR without a colour profile"),
    )
    return tuple(remark for applies, remark in said if applies)
