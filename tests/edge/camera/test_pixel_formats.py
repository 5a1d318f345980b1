# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edge_agent.camera.pixel_formats import CODES, to_bgr
from edge_agent.source_settings import PIXEL_FORMATS

BLUE, GREEN, RED = 200, 90, 30
# First pixels of the first two rows, as the Pixel Format Naming Convention has them.
BAYER = {"BayerGR8": "GRBG", "BayerRG8": "RGGB", "BayerGB8": "GBRG", "BayerBG8": "BGGR"}


def mosaic(pattern: str, height: int, width: int) -> bytes:
    """A plane of one colour as a sensor behind this pattern of filters sees it."""
    value = {"R": RED, "G": GREEN, "B": BLUE}
    seen = np.zeros((height, width), dtype=np.uint8)
    for index, colour in enumerate(pattern):
        seen[index // 2 :: 2, index % 2 :: 2] = value[colour]
    return seen.tobytes()


def test_every_format_of_the_settings_has_a_conversion() -> None:
    assert set(CODES) == set(PIXEL_FORMATS)


@pytest.mark.parametrize("name", BAYER)
def test_bayer_pattern_becomes_the_colour_that_was_before_it(name: str) -> None:
    pixels, fault = to_bgr(mosaic(BAYER[name], 8, 12), CODES[name], 8, 12)
    assert pixels is not None, fault
    assert pixels.shape == (8, 12, 3)
    assert np.array_equal(pixels, np.full((8, 12, 3), (BLUE, GREEN, RED)))


@pytest.mark.parametrize(("name", "order"), [("RGB8", (RED, GREEN, BLUE)), ("BGR8", (BLUE, GREEN, RED))])
def test_colour_pixels_keep_their_colour_and_place(name: str, order: tuple[int, int, int]) -> None:
    content = np.zeros((4, 6, 3), dtype=np.uint8)
    content[1, 2] = order
    pixels, _ = to_bgr(content.tobytes(), CODES[name], 4, 6)
    assert pixels is not None
    assert tuple(pixels[1, 2]) == (BLUE, GREEN, RED)
    assert int(pixels.sum()) == BLUE + GREEN + RED


def test_grey_becomes_three_equal_channels() -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6)
    pixels, _ = to_bgr(grey.tobytes(), CODES["Mono8"], 4, 6)
    assert pixels is not None
    assert all(np.array_equal(pixels[:, :, channel], grey) for channel in range(3))


@pytest.mark.parametrize("is_last_row_padded", [True, False])
@pytest.mark.parametrize("name", ["Mono8", "BGR8"])
def test_padding_of_rows_belongs_to_no_pixel(name: str, *, is_last_row_padded: bool) -> None:
    width_bytes = 6 if name == "Mono8" else 18
    rows = np.arange(4 * width_bytes, dtype=np.uint8).reshape(4, width_bytes)
    padded = np.pad(rows, ((0, 0), (0, 2)), constant_values=255).tobytes()
    pixels, fault = to_bgr(padded if is_last_row_padded else padded[:-2], CODES[name], 4, 6, row_padding_bytes=2)
    assert pixels is not None, fault
    assert np.array_equal(pixels[:, :, 0], rows if name == "Mono8" else rows[:, ::3])


def test_picture_does_not_share_memory_with_the_buffer() -> None:
    content = np.zeros((4, 6, 3), dtype=np.uint8)
    for name in ("BGR8", "RGB8"):
        pixels, _ = to_bgr(content.tobytes(), CODES[name], 4, 6)
        assert pixels is not None
        assert pixels.flags.writeable
        assert pixels.base is None


@pytest.mark.parametrize(
    ("code", "size", "said"),
    [(CODES["Mono8"], 23, "23 bytes"), (0x01100007, 48, "0x01100007"), (CODES["RGB8"], 24, "24 bytes")],
    ids=["too short", "Mono16", "grey said to be colour"],
)
def test_buffer_that_is_no_such_picture_gives_none_and_the_reason(code: int, size: int, said: str) -> None:
    pixels, fault = to_bgr(bytes(size), code, 4, 6)
    assert pixels is None
    assert said in fault
