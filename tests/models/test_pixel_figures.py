# SPDX-License-Identifier: Apache-2.0
"""AU-PRO and pixel AUROC against the plain way: every value once as a limit, all pixels kept."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from models.data.looks import mask_on_grid
from models.measuring.figures import image_auroc
from models.measuring.pixel_figures import PRO_LIMIT, Floats, Labels, PixelTally, brought_to, regions_of
from models.reporting.pictures import outlined


def plain_au_pro(maps: list[Floats], labels: list[Labels], limit: float = PRO_LIMIT) -> float:
    """By definition: for each limit the share of sound pixels above it and the mean overlap of the regions."""
    values, sound = (
        np.unique(np.concatenate([each.ravel() for each in maps])),
        np.concatenate([each[marks == 0] for each, marks in zip(maps, labels, strict=True)]),
    )
    points = [(0.0, 0.0)]
    for value in values[::-1]:
        overlaps = [
            float((each[marks == region] >= value).mean())
            for each, marks in zip(maps, labels, strict=True)
            for region in range(1, int(marks.max()) + 1)
        ]
        points.append((float((sound >= value).mean()), float(np.mean(overlaps))))
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        if left >= limit:
            break
        end = min(right, limit)
        at_end = low + (high - low) * (end - left) / (right - left) if right > left else high
        area += (end - left) * (low + at_end) / 2
    return area / limit


def made_pictures(count: int, side: int = 24) -> tuple[list[Floats], list[Labels]]:
    rng = np.random.default_rng(5)
    maps, labels = [], []
    for index in range(count):
        mask = np.zeros((side, side), np.uint8)
        if index % 3:
            mask[2:5, 3:9] = 255
            mask[12:20, 10 : 12 + index] = 255
        noisy = rng.normal(0, 1, mask.shape) + (mask > 0) * rng.normal(1.0, 0.5)
        maps.append(noisy.astype(np.float32))
        labels.append(regions_of(mask))
    return maps, labels


def tally_of(maps: list[Floats], labels: list[Labels], centre: float = 0.5) -> PixelTally:
    tally = PixelTally(centre)
    for each, marks in zip(maps, labels, strict=True):
        tally.add(each, marks if marks.any() else None)
    return tally


@pytest.mark.parametrize("centre", [0.5, -40.0, 3.0])
def test_figures_are_those_of_the_plain_way(centre: float) -> None:
    maps, labels = made_pictures(7)
    tally = tally_of(maps, labels, centre)
    assert tally.regions == sum(int(marks.max()) for marks in labels)
    assert tally.au_pro() == pytest.approx(plain_au_pro(maps, labels), abs=2e-3)
    pixels = np.concatenate([each.ravel() for each in maps])
    marked = np.concatenate([marks.ravel() for marks in labels]) > 0
    assert tally.auroc() == pytest.approx(image_auroc(pixels, marked), abs=1e-3)


def test_perfect_map_has_all_the_area_and_a_flat_one_that_of_chance() -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[4:9, 4:9] = 255
    labels = regions_of(mask)
    perfect, flat, upside_down = PixelTally(0), PixelTally(0), PixelTally(0)
    perfect.add((mask > 0).astype(np.float32), labels)
    flat.add(np.ones(mask.shape, np.float32), labels)
    upside_down.add(-(mask > 0).astype(np.float32), labels)
    assert [perfect.au_pro(), perfect.auroc()] == pytest.approx([1, 1])
    # Everything enters at once: overlap rises with the share marked, and so the mean up to 0.3 is 0.15.
    assert [flat.au_pro(), flat.auroc()] == pytest.approx([0.15, 0.5])
    assert [upside_down.au_pro(), upside_down.auroc()] == pytest.approx([0, 0])


def test_small_region_counts_as_much_as_a_large_one() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:10, 0:30] = 1
    mask[30, 30] = 1
    heatmap = np.zeros(mask.shape, np.float32)
    heatmap[0:10, 0:30] = 1
    tally = PixelTally(0.5)
    tally.add(heatmap, regions_of(mask))
    # The large one is found whole, the small one with everything else: ½ + ½ × 0.15, though 300 of 301 px are found.
    assert tally.au_pro() == pytest.approx(0.575, abs=1e-3)


@pytest.mark.parametrize("high", [1, 255])
def test_pieces_that_touch_at_a_corner_are_one_region(high: int) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[1:3, 1:3] = mask[3:5, 3:5] = high
    mask[6, 0] = high
    assert int(regions_of(mask).max()) == 2


def test_faint_rings_of_a_lossy_mask_are_no_regions() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 2:4] = 250
    mask[6, 6] = 3
    labels = regions_of(mask)
    assert (int(labels.max()), int((labels > 0).sum())) == (1, 4)


@pytest.mark.parametrize("high", [1, 255])
def test_what_is_learnt_measured_and_shown_of_a_mask_are_the_same_pixels(high: int) -> None:
    clean = np.zeros((64, 64), np.uint8)
    clean[16:32, 16:32] = high
    ringed = clean.copy()
    if high == 255:
        # What a lossy format leaves around an edge.
        ringed[8:40, 8:40] = np.maximum(ringed[8:40, 8:40], 60)
    picture = np.zeros((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(mask_on_grid(ringed, 16, 16), mask_on_grid(clean, 16, 16))
    np.testing.assert_array_equal(regions_of(ringed), regions_of(clean))
    np.testing.assert_array_equal(outlined(picture, ringed), outlined(picture, clean))
    assert mask_on_grid(clean, 16, 16).sum() == 16


def test_heatmap_is_brought_to_the_mask_by_pixel_centres() -> None:
    told = brought_to(np.array([[0, 1]], np.float32), 1, 4)
    np.testing.assert_allclose(told, [[0, 0.25, 0.75, 1]])


def test_tallies_of_classes_add_up_to_that_of_all() -> None:
    maps, labels = made_pictures(6)
    both = tally_of(maps[:3], labels[:3]) + tally_of(maps[3:], labels[3:])
    assert both.au_pro() == pytest.approx(tally_of(maps, labels).au_pro())
    assert both.regions == tally_of(maps, labels).regions
    with pytest.raises(ValueError, match="around one centre"):
        both + PixelTally(1.0)


def test_figure_without_a_region_or_a_sound_pixel_is_not_known() -> None:
    sound, defective = PixelTally(0), PixelTally(0)
    sound.add(np.zeros((4, 4), np.float32))
    defective.add(np.zeros((4, 4), np.float32), np.ones((4, 4), np.int32))
    for tally in (sound, defective):
        assert tally.auroc() is None
        assert tally.au_pro() is None


def test_values_and_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        PixelTally(0).add(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="expected regions of"):
        PixelTally(0).add(np.zeros((2, 2), np.float32), np.zeros((2, 3), np.int32))


def test_values_keep_their_order_from_far_below_to_far_above() -> None:
    values: NDArray[np.float32] = np.array([-1e30, -5, -1e-3, -1e-30, 0, 1e-30, 1e-3, 5, 1e30], np.float32)
    assert (np.diff(PixelTally(0).classes_of(values)) > 0).all()


def test_memory_does_not_grow_with_the_number_of_masks() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[100:140, 100:300] = 255
    heatmap = np.random.default_rng(0).normal(0, 1, (16, 16)).astype(np.float32)
    peaks = []
    for pictures in (3, 30):
        tracemalloc.start()
        tally = PixelTally(0)
        for _ in range(pictures):
            tally.add(brought_to(heatmap, 512, 512), regions_of(mask))
        tally.au_pro()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 64_000_000
