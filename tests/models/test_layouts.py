# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures become judged pictures; no part stands on both sides, and a bad split file is said plainly."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts.vocabulary import Judgement, PartUse
from models.data.layouts import read_layout
from models.errors import InputError


def _tiles(folder: Path) -> Path:
    """Ten tiles, 1,000 frame numbers apart, with three sound pictures each; the first two have a crack as well."""
    for tile in range(10):
        for place in range(4):
            kind = "MT_Crack" if place == 3 else "MT_Free"
            if place == 3 and tile > 1:
                continue
            path = folder / kind / "Imgs" / f"exp1_num_{1000 * (tile + 1) + 10 * place}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8, 3), 20 * tile + place, np.uint8))
    return folder


def test_all_pictures_of_a_tile_stand_on_one_side_without_a_split_file(tmp_path: Path) -> None:
    images = read_layout(_tiles(tmp_path), "magnetic-tile")
    sides: dict[str, set[PartUse]] = {}
    for image in images:
        sides.setdefault(image.group, set()).add(image.use)
    assert len(sides) == 10
    assert all(len(uses) == 1 for uses in sides.values())
    defective = {image.group for image in images if image.judgement is Judgement.DEFECTIVE}
    assert all(sides[group] == {PartUse.HOLDOUT} for group in defective)
    assert any(uses == {PartUse.TRAIN} for uses in sides.values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", "expected a JSON file"),
        ("[]", "expected `train_good` to be a JSON list"),
        ("{}", "expected `train_good` to be a JSON list"),
        (json.dumps({"train_good": [], "test_good": [], "test_defect": {}, "group": [], "half": {}}), "`group`"),
        (
            json.dumps({"train_good": ["a.jpg"], "test_good": [], "test_defect": {}, "group": {}, "half": {}}),
            "1 picture without a group",
        ),
    ],
)
def test_split_file_of_another_shape_is_the_users_error(tmp_path: Path, content: str, said: str) -> None:
    (_tiles(tmp_path) / "split.json").write_text(content)
    with pytest.raises(InputError, match=r"split\.json.*") as caught:
        read_layout(tmp_path, "magnetic-tile")
    assert said in str(caught.value)
