# SPDX-License-Identifier: Apache-2.0
"""The renderer: same number, same part; a defect stays inside its mask; severity grades contrast."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from plant.parts.__main__ import contact_sheet
from plant.parts.catalogue import KINDS, PRODUCTS, DefectSpec
from plant.parts.renderer import PartRenderer, render_part

SEED = 5
EVERY_KIND = [(product, kind) for product in PRODUCTS for kind in KINDS[product]]


@pytest.fixture(scope="module")
def renderers() -> dict[str, PartRenderer]:
    return {product: PartRenderer(product, 256, SEED) for product in PRODUCTS}


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_same_seed_and_number_give_the_same_part(renderers: dict[str, PartRenderer], product: str) -> None:
    first = [renderers[product].render(number) for number in (3, 1, 2)]
    again = PartRenderer(product, 256, SEED)
    for number, part in zip((3, 1, 2), first, strict=True):
        assert np.array_equal(again.render(number).pixels, part.pixels)
    assert not np.array_equal(first[0].pixels, first[1].pixels)


@pytest.mark.parametrize("product", PRODUCTS)
def test_another_seed_gives_another_part(renderers: dict[str, PartRenderer], product: str) -> None:
    other = PartRenderer(product, 256, SEED + 1).render(1)
    assert not np.array_equal(other.pixels, renderers[product].render(1).pixels)


def test_each_product_has_at_least_six_kinds() -> None:
    assert all(len(KINDS[product]) >= 6 for product in PRODUCTS)
    wanted = {"scratch", "pit", "crack", "stain", "missing", "contamination"}
    assert all(wanted <= set(KINDS[product]) for product in PRODUCTS)


@pytest.mark.parametrize(("product", "kind"), EVERY_KIND)
def test_a_defect_changes_pixels_only_inside_its_mask(
    renderers: dict[str, PartRenderer], product: str, kind: str
) -> None:
    for number in range(8):
        sound = renderers[product].render(number)
        part = renderers[product].render(number, DefectSpec(kind, 1.0))
        assert part.mask is not None
        assert part.mask.shape == (256, 256)
        assert part.mask.dtype == np.uint8
        around = cv2.dilate(part.mask, np.ones((3, 3), np.uint8))
        changed = np.any(sound.pixels != part.pixels, axis=2)
        assert not np.any(changed & (around == 0))
        assert np.count_nonzero(changed) >= 12
        assert part.mask_px >= np.count_nonzero(changed & (part.mask > 0))
        assert (part.defect_class, part.severity) == (kind, 1.0)


@pytest.mark.parametrize(("product", "kind"), EVERY_KIND)
def test_severity_grades_contrast_and_leaves_the_mask(
    renderers: dict[str, PartRenderer], product: str, kind: str
) -> None:
    for number in (4, 9, 21):
        sound = renderers[product].render(number).pixels.astype(np.float32)
        parts = [renderers[product].render(number, DefectSpec(kind, s)) for s in (0.2, 0.5, 0.75, 1.0)]
        contrasts = [float(np.abs(part.pixels - sound).sum()) for part in parts]
        assert all(weaker < stronger for weaker, stronger in pairwise(contrasts))
        masks = [part.mask for part in parts]
        assert all(mask is not None and masks[0] is not None and np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize("product", PRODUCTS)
def test_sound_parts_vary_in_pose_and_light(renderers: dict[str, PartRenderer], product: str) -> None:
    parts = np.stack([renderers[product].render(number).pixels for number in range(40)]).astype(np.float32)
    assert parts.std(axis=0).mean() > 4
    brightness = parts.mean(axis=(1, 2, 3))
    assert 0.2 < brightness.std() < 8


@pytest.mark.parametrize("size_px", [128, 512])
@pytest.mark.parametrize("product", PRODUCTS)
def test_parts_come_in_the_asked_size(product: str, size_px: int) -> None:
    part = render_part(product, SEED, 7, DefectSpec("missing", 0.8), size_px)
    assert part.pixels.shape == (size_px, size_px, 3)
    assert part.pixels.dtype == np.uint8
    assert part.mask is not None
    assert part.mask_px > 0


def test_a_product_or_size_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of ring, board, got 'wheel'"):
        PartRenderer("wheel")
    with pytest.raises(ValueError, match="expected 64 … 1024, got 20"):
        PartRenderer("ring", 20)


def test_the_contact_sheet_shows_every_kind() -> None:
    sheet = contact_sheet("board", 64, 0, (0.5, 1.0, 1.0))
    assert sheet.shape == ((1 + len(KINDS["board"])) * 64, 6 * 64, 3)
