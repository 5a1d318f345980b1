# SPDX-License-Identifier: Apache-2.0
"""What a picture file says of itself, read from its bytes without decoding a pixel.

Size, bits a channel, frames, alpha, turning and whether the end is there: enough to refuse a file that would take the
memory of the machine, or that shows something else than one part. Knows PNG, JPEG, WebP, GIF, BMP and TIFF; decodes
nothing and decides nothing. Called by `pictures`.

Sources: PNG (W3C, third edition, with APNG), JPEG (ITU-T T.81), WebP container (Google), GIF 89a, TIFF 6.0, EXIF 2.3.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

_MOST_PAGES: Final = 64
# JPEG: frame headers; C4, C8 and CC between them are tables.
_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF_ORIENTATION: Final = 0x0112


@dataclass(frozen=True)
class Header:
    """One picture file. `orientation`: EXIF 1 … 8, 1 is upright. `is_whole`: the end of the file is there."""

    kind: str
    width_px: int
    height_px: int
    bits: int = 8
    frames: int = 1
    has_alpha: bool = False
    is_cmyk: bool = False
    orientation: int = 1
    is_whole: bool = True


def read_header(content: bytes) -> Header | None:
    """The header of a picture file; None when it is of no known kind or breaks off before its size."""
    readers: tuple[tuple[bytes, Callable[[bytes], Header | None]], ...] = (
        (b"\x89PNG\r\n\x1a\n", _png),
        (b"\xff\xd8\xff", _jpeg),
        (b"RIFF", _webp),
        (b"GIF8", _gif),
        (b"BM", _bmp),
        (b"II*\0", _tiff),
        (b"MM\0*", _tiff),
    )
    for magic, reader in readers:
        if content.startswith(magic):
            try:
                header = reader(content)
            except (struct.error, IndexError):
                return None
            return header if header is not None and header.width_px > 0 and header.height_px > 0 else None
    return None


def _png(content: bytes) -> Header | None:
    width, height, bits, colour = struct.unpack_from(">IIBB", content, 16)
    header = Header("PNG", width, height, bits=max(bits, 8), has_alpha=colour in {4, 6}, is_whole=False)
    for name, start, length in _chunks(content, 8, ">I4s", tail=4):
        if name == b"acTL":
            header = replace(header, frames=struct.unpack_from(">I", content, start)[0])
        elif name == b"tRNS":
            header = replace(header, has_alpha=True)
        elif name == b"eXIf":
            header = replace(header, orientation=_orientation(content[start : start + length]))
        elif name == b"IEND":
            header = replace(header, is_whole=True)
    return header


def _chunks(
    content: bytes, at: int, form: str, *, tail: int, is_padded: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of each chunk that lies wholly within the file."""
    while at + 8 <= len(content):
        first, second = struct.unpack_from(form, content, at)
        name, length = (second, first) if isinstance(first, int) else (first, second)
        if at + 8 + length + tail > len(content):
            return
        yield name, at + 8, length
        at += 8 + length + tail + (length % 2 if is_padded else 0)


def _jpeg(content: bytes) -> Header | None:
    header: Header | None = None
    orientation, at = 1, 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if marker in {0xFF, 0x01} or 0xD0 <= marker <= 0xD7:
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", content, at + 2)[0]
        if marker in _FRAME_MARKERS:
            bits, height, width, channels = struct.unpack_from(">BHHB", content, at + 4)
            header = Header("JPEG", width, height, bits=bits, is_cmyk=channels == 4)
        elif marker == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _orientation(content[at + 10 : at + 2 + length])
        elif marker == 0xDA:
            break
        at += 2 + length
    if header is None:
        return None
    # A preview inside the EXIF block has an end of its own, so only what follows the scan counts.
    return replace(header, orientation=orientation, is_whole=content.rfind(b"\xff\xd9") > at)


def _webp(content: bytes) -> Header | None:
    if content[8:12] != b"WEBP":
        return None
    header: Header | None = None
    frames = 0
    size = struct.unpack_from("<I", content, 4)[0]
    for name, start, length in _chunks(content, 12, "<4sI", tail=0, is_padded=True):
        if name == b"VP8X":
            width, height = (int.from_bytes(content[start + at : start + at + 3], "little") + 1 for at in (4, 7))
            header = Header("WebP", width, height, has_alpha=bool(content[start] & 0x10))
        elif name == b"VP8 " and header is None:
            width, height = struct.unpack_from("<HH", content, start + 6)
            header = Header("WebP", width & 0x3FFF, height & 0x3FFF)
        elif name == b"VP8L" and header is None:
            packed = struct.unpack_from("<I", content, start + 1)[0]
            size_px = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
            header = Header("WebP", *size_px, has_alpha=bool(packed >> 28 & 1))
        elif name == b"ANMF":
            frames += 1
        elif name == b"EXIF" and header is not None:
            block = content[start : start + length].removeprefix(b"Exif\0\0")
            header = replace(header, orientation=_orientation(block))
    if header is None:
        return None
    return replace(header, frames=max(frames, 1), is_whole=len(content) >= size + 8)


def _gif(content: bytes) -> Header | None:
    width, height, packed = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
    frames, is_whole, has_alpha = 0, False, False
    while at < len(content):
        if content[at] == 0x3B:
            is_whole = True
            break
        if content[at] == 0x2C:
            frames += 1
            local = content[at + 9]
            at += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
        elif content[at] == 0x21:
            has_alpha = has_alpha or (content[at + 1] == 0xF9 and bool(content[at + 3] & 1))
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += content[at] + 1
        at += 1
    return Header("GIF", width, height, frames=max(frames, 1), has_alpha=has_alpha, is_whole=is_whole)


def _bmp(content: bytes) -> Header | None:
    size = struct.unpack_from("<I", content, 14)[0]
    if size == 12:
        width, height, _, _ = struct.unpack_from("<HHHH", content, 18)
    else:
        width, height = struct.unpack_from("<ii", content, 18)
    return Header("BMP", width, abs(height))


def _tiff(content: bytes) -> Header | None:
    order = "<" if content.startswith(b"II") else ">"
    at = struct.unpack_from(order + "I", content, 4)[0]
    first: Header | None = None
    frames = 0
    # A directory that points back to an earlier one must not hold us for ever.
    for _ in range(_MOST_PAGES):
        if at == 0:
            break
        tags, at = _directory(content, at, order)
        # NewSubfileType 1: a smaller copy of another page.
        if tags.get(254, 0) & 1:
            continue
        frames += 1
        if first is None:
            first = Header(
                "TIFF", tags.get(256, 0), tags.get(257, 0), bits=max(tags.get(258, 1), 8),
                has_alpha=338 in tags, is_cmyk=tags.get(262) == 5, orientation=_sane(tags.get(274, 1)),
            )  # fmt: skip
    return None if first is None else replace(first, frames=frames)


def _directory(content: bytes, at: int, order: str) -> tuple[dict[int, int], int]:
    """First value of each tag of an image file directory, and where the next one lies."""
    count = struct.unpack_from(order + "H", content, at)[0]
    tags: dict[int, int] = {}
    for place in range(count):
        entry = at + 2 + 12 * place
        tag, kind, values, offset = struct.unpack_from(order + "HHII", content, entry)
        if kind not in {3, 4}:
            continue
        width = 2 if kind == 3 else 4
        source = entry + 8 if values * width <= 4 else offset
        tags[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), content, source)[0]
    return tags, struct.unpack_from(order + "I", content, at + 2 + 12 * count)[0]


def _orientation(exif: bytes) -> int:
    """Orientation of an EXIF block (a TIFF without pixels); 1 where it says none or cannot be read."""
    if exif[:4] not in {b"II*\0", b"MM\0*"}:
        return 1
    order = "<" if exif.startswith(b"II") else ">"
    try:
        tags, _ = _directory(exif, struct.unpack_from(order + "I", exif, 4)[0], order)
    except struct.error:
        return 1
    return _sane(tags.get(_EXIF_ORIENTATION, 1))


def _sane(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1
