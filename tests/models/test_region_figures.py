# SPDX-License-Identifier: Apache-2.0
"""AU-PRO by region agrees with the tally's, and a loss counts only beyond the luck of the parts."""

import hashlib
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, LabelSource, PartUse, Variant
from models.data.parts import Gallery, Part, read_gallery, read_mask
from models.measuring.pixel_figures import PixelTally, brought_to, regions_of
from models.measuring.region_figures import Places, RegionAreas, is_au_pro_lost, region_areas
from models.packages.reading import Scored
from models.settings import Settings
from models.training.judging_variants import Bench, Candidate

SIDE_PX, CELLS = 64, 16


def _held_out(folder: Path, sound: int, defective: int, *, has_masks: bool = True, side_px: int = SIDE_PX) -> Gallery:
    """Grey plates; the defective ones with two marked regions of different size."""
    rng = np.random.default_rng(0)
    images = []
    for row in range(sound + defective):
        is_defective = row >= sound
        path, mask_path = folder / f"{row}.png", folder / f"{row}_mask.png"
        cv2.imwrite(str(path), rng.integers(90, 110, (side_px, side_px, 3)).astype(np.uint8))
        if is_defective:
            mask = np.zeros((side_px, side_px), np.uint8)
            mask[8:24, 8:24] = mask[44:52, 40:60] = 255
            cv2.imwrite(str(mask_path), mask)
        images.append(
            TrainingImage(
                path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                judgement=Judgement.DEFECTIVE if is_defective else Judgement.GOOD, group=f"p{row}",
                mask_path=str(mask_path) if is_defective and has_masks else None, use=PartUse.HOLDOUT,
                source=LabelSource.AUDIT,
            )
        )  # fmt: skip
    return read_gallery(images, Settings(cache_dir=folder, is_offline=True))


def _heatmaps(gallery: Gallery, parts: list[Part], hit: float, rng: np.random.Generator) -> list[NDArray[np.float32]]:
    maps = []
    for part in parts:
        heatmap = rng.normal(0, 1, (CELLS, CELLS)).astype(np.float32)
        mask = read_mask(part, gallery)
        if mask is not None:
            heatmap += hit * cv2.resize(mask, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        maps.append(heatmap)
    return maps


def test_the_mean_area_of_the_regions_is_au_pro(tmp_path: Path) -> None:
    gallery = _held_out(tmp_path, 6, 6)
    parts = gallery.select(PartUse.HOLDOUT)
    heatmaps = _heatmaps(gallery, parts, 2.0, np.random.default_rng(1))
    places = Places.among(parts, gallery)
    told = region_areas(heatmaps, parts, gallery, places, 1.0)
    tally = PixelTally(1.0)
    for part, heatmap in zip(parts, heatmaps, strict=True):
        mask = read_mask(part, gallery)
        tally.add(brought_to(heatmap, SIDE_PX, SIDE_PX), None if mask is None else regions_of(mask))
    assert told is not None
    assert told.au_pro is not None
    assert 0.3 < told.au_pro < 0.99
    assert len(told.areas) == 12
    assert told.au_pro == pytest.approx(tally.au_pro(), abs=1e-12), "training and evaluate tell the same figure"


def test_a_region_has_the_area_that_a_tally_of_it_alone_gives(tmp_path: Path) -> None:
    gallery = _held_out(tmp_path, 3, 2)
    parts = gallery.select(PartUse.HOLDOUT)
    heatmaps = _heatmaps(gallery, parts, 1.5, np.random.default_rng(1))
    # Coarse values, so that sound and defective pixels share their classes.
    heatmaps = [np.round(each, 0) for each in heatmaps]
    told = region_areas(heatmaps, parts, gallery, Places.among(parts, gallery), 1.0)
    assert told is not None
    alone = []
    for mine, part in enumerate(parts):
        mask = read_mask(part, gallery)
        for number in range(1, 3) if mask is not None else ():
            tally = PixelTally(1.0)
            for other, (rest, heatmap) in enumerate(zip(parts, heatmaps, strict=True)):
                marks = read_mask(rest, gallery)
                sized = brought_to(heatmap, SIDE_PX, SIDE_PX)
                labels = np.zeros((SIDE_PX, SIDE_PX), np.int32) if marks is None else regions_of(marks)
                tally.add(sized[labels == 0][None])
                if other == mine:
                    inside = sized[labels == number][None]
                    tally.add(inside, np.ones(inside.shape, np.int32))
            alone.append(tally.au_pro())
    np.testing.assert_allclose(told.areas, np.array(alone, np.float64), atol=1e-12)


def test_memory_grows_with_the_defects_and_not_with_the_size_of_their_pictures(tmp_path: Path) -> None:
    gallery = _held_out(tmp_path, 1, 12, side_px=512)
    parts = gallery.select(PartUse.HOLDOUT)
    heatmaps = _heatmaps(gallery, parts, 2.0, np.random.default_rng(1))
    peaks = []
    for count in (2, 12):
        rows = [row for row, part in enumerate(parts) if part.is_defective][:count]
        places = Places([row for row, part in enumerate(parts) if not part.is_defective], rows)
        tracemalloc.start()
        told = region_areas(heatmaps, parts, gallery, places, 1.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert told is not None
        assert len(told.areas) == 2 * count
    # The labels of ten further masks of 512 px a side would be 10 MB.
    assert peaks[1] - peaks[0] < 1_000_000


def test_a_heatmap_that_points_elsewhere_is_a_loss_and_one_alike_is_none(tmp_path: Path) -> None:
    gallery = _held_out(tmp_path, 6, 6)
    parts = gallery.select(PartUse.HOLDOUT)
    places = Places.among(parts, gallery)
    before, alike, blind = (
        region_areas(_heatmaps(gallery, parts, hit, np.random.default_rng(1)), parts, gallery, places, 1.0)
        for hit in (3.0, 2.999, 0.0)
    )
    assert before is not None
    assert alike is not None
    assert blind is not None
    assert is_au_pro_lost(before, blind, allowed=0.005)
    assert not is_au_pro_lost(before, alike, allowed=0.005)
    assert not is_au_pro_lost(blind, before, allowed=0.005), "a gain is no loss"


def test_a_fall_on_one_part_alone_is_luck() -> None:
    groups = [f"p{row}" for row in range(10)]
    before = np.full(10, 0.9)
    after = before + 0.01
    after[0] = 0.7
    fallen = RegionAreas(after, groups)
    assert before.mean() - after.mean() > 0.005
    assert not is_au_pro_lost(RegionAreas(before, groups), fallen, allowed=0.005)
    everywhere = RegionAreas(before - 0.02, groups)
    assert is_au_pro_lost(RegionAreas(before, groups), everywhere, allowed=0.005)


def test_without_masks_nothing_is_compared(tmp_path: Path) -> None:
    gallery = _held_out(tmp_path, 4, 4, has_masks=False)
    parts = gallery.select(PartUse.HOLDOUT)
    places = Places.among(parts, gallery)
    assert (places.sound, places.masked) == ([], [])
    assert region_areas([], parts, gallery, places, 1.0) is None


def test_a_variant_that_loses_places_is_left_out_though_its_scores_are_the_same(tmp_path: Path) -> None:
    gallery = _held_out(tmp_path, 6, 6)
    parts = gallery.select(PartUse.HOLDOUT)
    golden = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)
    bench = Bench(gallery, parts, golden, golden_sound=1, scale=1.0, centre=1.0, threads=1)
    scores = bench.is_defective.astype(np.float32)

    def candidate(hit: float) -> Candidate:
        heatmaps = _heatmaps(gallery, parts, hit, np.random.default_rng(1))
        regions = region_areas(heatmaps, parts, gallery, bench.places, 1.0)
        return Candidate(Variant.FP32, b"", np.zeros(1, np.float32), Scored(scores, 1.0), regions)

    exact, alike, blind = candidate(3.0), candidate(2.999), candidate(0.0)
    bench.judge(alike, exact, is_fitted_on=True)
    bench.judge(blind, exact, is_fitted_on=True)
    assert alike.is_included
    assert not blind.is_included
    assert blind.note.startswith("AU-PRO fell from ")
    assert "12 defect regions" in blind.note
    assert exact.outdoes(blind, bench.is_defective)
    assert not blind.outdoes(blind, bench.is_defective)
