# SPDX-License-Identifier: Apache-2.0
"""Judged pictures together: what is there twice, what is judged both ways, masks that do not fit."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, LabelSource, PartUse
from models.data.parts import read_gallery, read_mask
from models.errors import InputError
from models.settings import Settings

SETTINGS = Settings()
SIDE_PX = 40


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)


def judged(
    path: Path,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    judgement: Judgement = Judgement.GOOD,
    use: PartUse = PartUse.TRAIN,
    *,
    group: str | None = None,
    mask: Path | None = None,
) -> TrainingImage:
    assert cv2.imwrite(str(path), pixels)
    return TrainingImage(
        path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), judgement=judgement,
        group=group or path.stem, use=use, source=LabelSource.REFERENCE, mask_path=None if mask is None else str(mask),
    )  # fmt: skip


def names(images: Sequence[TrainingImage]) -> tuple[set[str], list[str]]:
    """Names of the parts that are used, and the lines of those left out."""
    gallery = read_gallery(images, SETTINGS)
    return {part.path.name for part in gallery.parts}, gallery.left_out


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_picture_on_both_sides_is_not_trained_on_whatever_its_name_and_kind(tmp_path: Path, suffix: str) -> None:
    images = [
        judged(tmp_path / "a.png", picture(0)),
        judged(tmp_path / "b.png", picture(1)),
        judged(tmp_path / f"held{suffix}", picture(0), use=PartUse.HOLDOUT),
    ]
    used, left_out = names(images)
    assert used == {"b.png", f"held{suffix}"}
    assert len(left_out) == 1
    assert "a.png: the same picture is held out too" in left_out[0]
    assert f"held{suffix}" in left_out[0]


@pytest.mark.parametrize(
    ("good", "defective", "kept"),
    [(1, 1, set()), (2, 1, {"g0.png", "g1.png"}), (1, 2, {"d0.png", "d1.png"})],
)
def test_majority_decides_what_is_judged_both_ways_and_a_tie_leaves_all_out(
    tmp_path: Path, good: int, defective: int, kept: set[str]
) -> None:
    images = [judged(tmp_path / f"g{place}.png", picture(0)) for place in range(good)]
    images += [judged(tmp_path / f"d{place}.png", picture(0), Judgement.DEFECTIVE) for place in range(defective)]
    images.append(judged(tmp_path / "other.png", picture(1)))
    used, left_out = names(images)
    assert used == kept | {"other.png"}
    assert len(left_out) == good + defective - len(kept)
    assert all("correct one of the judgements" in line for line in left_out)


@pytest.mark.parametrize(("use", "other"), [(PartUse.TRAIN, PartUse.HOLDOUT), (PartUse.HOLDOUT, PartUse.TRAIN)])
def test_same_picture_under_two_groups_makes_one_group_of_them(tmp_path: Path, use: PartUse, other: PartUse) -> None:
    images = [
        judged(tmp_path / "a.png", picture(0), group="one", use=use),
        judged(tmp_path / "b.png", picture(0), group="two", use=use),
        judged(tmp_path / "c.png", picture(1), group="two", use=use),
        judged(tmp_path / "d.png", picture(1), group="three", use=use),
        judged(tmp_path / "e.png", picture(2), group="four", use=use),
        judged(tmp_path / "f.png", picture(3), group="five", use=other),
    ]
    for order in (images, images[::-1]):
        gallery = read_gallery(order, SETTINGS)
        groups = {part.path.name: part.image.group for part in gallery.parts}
        assert len({groups[name] for name in ("a.png", "b.png", "c.png", "d.png")}) == 1
        assert (groups["e.png"], groups["f.png"]) == ("four", "five")
        assert gallery.left_out == []
        assert any("taken for one part" in remark for remark in gallery.remarks)


def test_what_was_done_to_pictures_is_said_once_with_their_number(tmp_path: Path) -> None:
    deep = (picture(0).astype(np.uint16) << 8) | 7
    images = [judged(tmp_path / f"{place}.png", (deep + place).astype(np.uint16)) for place in range(5)]
    gallery = read_gallery([*images, judged(tmp_path / "x.png", picture(1))], SETTINGS)
    assert len(gallery.parts) == 6
    deep_remarks = [remark for remark in gallery.remarks if "16 bits" in remark]
    assert len(deep_remarks) == 1
    assert deep_remarks[0].startswith("5 pictures (")
    assert "…" in deep_remarks[0]


def test_lines_from_before_the_job_stay_in_the_list(tmp_path: Path) -> None:
    gallery = read_gallery([judged(tmp_path / "a.png", picture(0))], SETTINGS, left_out=["b.png: no"])
    assert gallery.left_out == ["b.png: no"]


def test_pictures_beyond_the_memory_bound_are_read_again(tmp_path: Path) -> None:
    images = [judged(tmp_path / f"{place}.png", picture(place)) for place in range(3)]
    gallery = read_gallery(images, Settings(max_kept_pixels_bytes=2 * picture(0).nbytes))
    for place, part in enumerate(gallery.parts):
        np.testing.assert_array_equal(gallery.pixels(part), picture(place))
    Path(images[2].path).unlink()
    with pytest.raises(InputError, match=r"2\.png: cannot be read"):
        gallery.pixels(gallery.parts[2])


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full((SIDE_PX, SIDE_PX), 255, np.uint8), None),
        (np.full((SIDE_PX, SIDE_PX + 2), 255, np.uint8), "expected a mask of the picture's 40 × 40 px, got 42 × 40 px"),
        (np.zeros((SIDE_PX, SIDE_PX), np.uint8), "the mask is empty"),
        (None, "cannot be read"),
    ],
)
def test_unfit_mask_is_named_once_and_its_picture_used(
    tmp_path: Path, mask: NDArray[np.uint8] | None, said: str | None
) -> None:
    where = tmp_path / "a_mask.png"
    if mask is not None:
        assert cv2.imwrite(str(where), mask)
    gallery = read_gallery([judged(tmp_path / "a.png", picture(0), Judgement.DEFECTIVE, mask=where)], SETTINGS)
    (part,) = gallery.parts
    for _ in range(2):
        assert (read_mask(part, gallery) is None) == (said is not None)
    if said is None:
        assert gallery.left_out == []
    else:
        (line,) = gallery.left_out
        assert "a_mask.png" in line
        assert said in line
        assert "a.png is used without its mask" in line
