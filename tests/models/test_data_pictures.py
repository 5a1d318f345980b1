# SPDX-License-Identifier: Apache-2.0
"""What is done with every kind of picture file: used as a station sees it, or refused by name with a remedy."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_agent.camera.decoding import decode_picture
from models.data.headers import read_header
from models.data.pictures import open_picture, read_mask_picture, read_picture
from models.errors import InputError
from models.settings import Settings

HEIGHT_PX, WIDTH_PX = 40, 60
SETTINGS = Settings()


def gradient() -> NDArray[np.uint8]:
    """RGB, no two corners alike."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    return np.stack([4 * x, 6 * y, 255 - 4 * x], axis=2).astype(np.uint8)


def as_bytes(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    return as_bytes(Image.fromarray(gradient()).convert(mode), kind, **options)


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return plain(kind, exif=exif.tobytes())


def animated(kind: str) -> bytes:
    others = [Image.fromarray(np.roll(gradient(), 7 * step, axis=1)) for step in (1, 2)]
    return plain(kind, save_all=True, append_images=others)


def deep(levels: int = 65_535, *, channels: int = 1) -> bytes:
    ramp = np.linspace(0, levels, WIDTH_PX).astype(np.uint16)
    shape = (HEIGHT_PX, WIDTH_PX) if channels == 1 else (HEIGHT_PX, WIDTH_PX, 3)
    picture = np.broadcast_to(ramp if channels == 1 else ramp[:, None], shape)
    return cv2.imencode(".png", np.ascontiguousarray(picture))[1].tobytes()


def huge_png(width: int, height: int) -> bytes:
    """A header of a huge picture with hardly a pixel behind it: what a decompression bomb looks like."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (plain("PNG"), {"kind": "PNG"}),
        (plain("PNG", "L"), {"kind": "PNG"}),
        (plain("PNG", "RGBA"), {"kind": "PNG", "has_alpha": True}),
        (plain("PNG", "P", transparency=0), {"kind": "PNG", "has_alpha": True}),
        (deep(), {"kind": "PNG", "bits": 16}),
        (deep(channels=3), {"kind": "PNG", "bits": 16}),
        (turned("PNG"), {"kind": "PNG", "orientation": 6}),
        (animated("PNG"), {"kind": "PNG", "frames": 3}),
        (plain("JPEG"), {"kind": "JPEG"}),
        (plain("JPEG", progressive=True), {"kind": "JPEG"}),
        (plain("JPEG", "CMYK"), {"kind": "JPEG", "is_cmyk": True}),
        (turned("JPEG"), {"kind": "JPEG", "orientation": 6}),
        (plain("WebP"), {"kind": "WebP"}),
        (plain("WebP", lossless=True), {"kind": "WebP"}),
        (plain("WebP", "RGBA"), {"kind": "WebP"}),
        (turned("WebP"), {"kind": "WebP", "orientation": 6}),
        (animated("WebP"), {"kind": "WebP", "frames": 3}),
        (plain("GIF"), {"kind": "GIF"}),
        (animated("GIF"), {"kind": "GIF", "frames": 3}),
        (plain("BMP"), {"kind": "BMP"}),
        (plain("TIFF"), {"kind": "TIFF"}),
        (plain("TIFF", "CMYK"), {"kind": "TIFF", "is_cmyk": True}),
        (plain("TIFF", "I;16"), {"kind": "TIFF", "bits": 16}),
        (animated("TIFF"), {"kind": "TIFF", "frames": 3}),
    ],
)
def test_header_tells_what_the_file_is_without_decoding(content: bytes, expected: dict[str, object]) -> None:
    header = read_header(content)
    assert header is not None
    usual = {"bits": 8, "frames": 1, "has_alpha": False, "is_cmyk": False, "orientation": 1, "is_whole": True}
    if expected["kind"] == "WebP":
        usual.pop("has_alpha")
    told = {name: getattr(header, name) for name in usual}
    assert (header.width_px, header.height_px) == (WIDTH_PX, HEIGHT_PX)
    assert told | {"kind": header.kind} == usual | expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF"])
def test_no_broken_or_flipped_header_raises(kind: str) -> None:
    makers: dict[str, Callable[[str], bytes]] = {"BMP": plain, "JPEG": turned}
    content = makers.get(kind, animated)(kind)
    for end in range(min(len(content), 400)):
        read_header(content[:end])
    rng = np.random.default_rng(0)
    for _ in range(500):
        flipped = bytearray(content)
        for place in rng.integers(0, min(len(content), 300), 4):
            flipped[place] = rng.integers(256)
        read_header(bytes(flipped))


USED: dict[str, tuple[bytes, str | None]] = {
    "grey.png": (plain("PNG", "L"), None),
    "colour.jpg": (plain("JPEG", quality=95), None),
    "a-png-called.jpg": (plain("PNG"), None),
    "deep-grey.png": (deep(), "16 bits a channel"),
    "deep-colour.png": (deep(channels=3), "16 bits a channel"),
    "cmyk.jpg": (plain("JPEG", "CMYK"), "CMYK"),
    "turned.jpg": (turned("JPEG"), "EXIF"),
    "alpha.png": (plain("PNG", "RGBA"), "alpha"),
}


@pytest.mark.parametrize("name", USED)
def test_what_is_learnt_is_what_a_station_sees(tmp_path: Path, name: str) -> None:
    content, remark = USED[name]
    (tmp_path / name).write_bytes(content)
    opened = open_picture(tmp_path / name, SETTINGS)
    seen, fault = decode_picture(content)
    assert fault == ""
    assert seen is not None
    np.testing.assert_array_equal(opened.pixels, seen)
    assert opened.pixels.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert opened.pixels.dtype == np.uint8
    assert (remark is None) == (opened.remarks == ())
    assert remark is None or any(remark in line for line in opened.remarks)


def test_sixteen_bits_are_brought_to_eight_over_their_full_range(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(deep())
    picture = read_picture(tmp_path / "x.png", SETTINGS)
    assert int(picture.min()) == 0
    assert int(picture.max()) == 255


def test_exif_orientation_turns_neither_picture_nor_mask(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(turned("JPEG"))
    (tmp_path / "x.png").write_bytes(turned("PNG"))
    assert read_picture(tmp_path / "x.jpg", SETTINGS).shape[:2] == (HEIGHT_PX, WIDTH_PX)
    assert read_mask_picture(tmp_path / "x.png", SETTINGS).shape == (HEIGHT_PX, WIDTH_PX)


def test_regions_numbered_in_a_sixteen_bit_mask_are_defect(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint16)
    mask[3, 4], mask[5, 6] = 1, 300
    (tmp_path / "x.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    read = read_mask_picture(tmp_path / "x.png", SETTINGS)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read > 0, mask > 0)


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.png": (b"", "is empty; copy or take it again"),
    "text.png": (b"hello", "not a picture that can be read; save it as PNG or JPEG"),
    "one-pixel.png": (as_bytes(Image.new("L", (1, 1)), "PNG"), "at least 32 px a side, got 1 × 1 px; take"),
    "flat.png": (as_bytes(Image.new("L", (400, 20)), "PNG"), "at least 32 px a side, got 400 × 20 px"),
    "animated.gif": (animated("GIF"), "a GIF of 3 frames; save the one"),
    "animated.webp": (animated("WebP"), "a WebP of 3 frames; save the one"),
    "animated.png": (animated("PNG"), "a PNG of 3 frames; save the one"),
    "pages.tif": (animated("TIFF"), "a TIFF of 3 frames; save the one"),
    "half.jpg": (plain("JPEG")[:-200], "the JPEG breaks off before its end; copy it again"),
    "half.png": (plain("PNG")[:-40], "the PNG breaks off before its end; copy it again"),
    "twelve-bits.png": (deep(4095), "of which only the lower 12 are used; a station would see it black"),
    "black.png": (deep(255), "of which only the lower 8 are used; a station would see it black"),
    "bomb.png": (huge_png(20_000, 10_000), "at most 64000000 px in all, got 20000 × 10000 px; cut out"),
    "rubbish.png": (plain("PNG")[:33] + b"\0" * 60 + plain("PNG")[-12:], "PNG"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unfit_picture_is_refused_by_name_with_a_remedy(tmp_path: Path, name: str) -> None:
    content, said = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_picture(tmp_path / name, SETTINGS)
    assert name in str(caught.value)
    assert said in str(caught.value)


def test_huge_picture_is_refused_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_arguments: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr(cv2, "imdecode", decode)
    (tmp_path / "x.png").write_bytes(huge_png(20_000, 10_000))
    for reader in (read_picture, read_mask_picture):
        with pytest.raises(InputError, match="at most 64000000 px"):
            reader(tmp_path / "x.png", SETTINGS)


def test_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(SETTINGS.max_picture_bytes + 1)
    with pytest.raises(InputError, match=r"x\.png: expected at most 67108864 bytes, got 67108865"):
        read_picture(tmp_path / "x.png", SETTINGS)


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("gone.png"))


@pytest.mark.parametrize(
    ("make", "said"),
    [(_folder, "a folder, not a picture"), (_pipe, "not a regular file"), (_dangling, "cannot be read")],
)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    make(tmp_path / "x.png")
    with pytest.raises(InputError, match=rf"x\.png: .*{said}"):
        read_picture(tmp_path / "x.png", SETTINGS)


def test_no_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.png").write_bytes(plain("PNG"))
    # The superuser may read everything, so taking the right away would prove nothing in every place.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"x\.png: no permission to read it; allow it"):
        read_picture(tmp_path / "x.png", SETTINGS)


def test_unprintable_name_is_spelt_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\\x1b\[31m\\n\.png: cannot be read"):
        read_picture(tmp_path / "a\x1b[31m\n.png", SETTINGS)
