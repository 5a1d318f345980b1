# SPDX-License-Identifier: Apache-2.0
"""Heatmaps keep the crop's aspect and mean the same grey for the same severity."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.reporting.pictures import encode_crop, encode_heatmap


def grey(content: bytes) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return np.asarray(decoded, dtype=np.uint8)


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0), (2.0, 170), (3.0, 255), (30.0, 255), (-1.0, 0), (1.0, 85)])
def test_grey_value_is_the_share_of_one_and_a_half_limits(value: float, expected: int) -> None:
    picture = grey(encode_heatmap(np.full((4, 4), value, dtype=np.float32), (40, 60), ng_limit=2.0))
    assert picture.ndim == 2
    assert set(picture.reshape(-1).tolist()) == {expected}


@pytest.mark.parametrize(
    ("crop_hw", "expected"), [((40, 60), (40, 60)), ((1024, 512), (512, 256)), ((3, 4000), (1, 512))]
)
def test_heatmap_has_the_aspect_of_its_crop(crop_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    heatmap = np.eye(7, 5, dtype=np.float32)
    assert grey(encode_heatmap(heatmap, crop_hw, ng_limit=1.0)).shape == expected


@pytest.mark.parametrize("limit", [None, 0.0, -1.0])
def test_heatmap_without_a_usable_limit_is_scaled_by_its_own_maximum(limit: float | None) -> None:
    heatmap = np.array([[0.0, 8.0]], dtype=np.float32)
    assert grey(encode_heatmap(heatmap, (10, 20), limit)).max() == 255


def test_values_that_are_not_finite_become_black() -> None:
    heatmap = np.array([[np.nan, np.inf], [-np.inf, 0.0]], dtype=np.float32)
    assert grey(encode_heatmap(heatmap, (8, 8), 1.0)).max() == 0


@pytest.mark.parametrize("shape", [(0, 0), (3,), (2, 2, 2)])
def test_array_that_is_no_heatmap_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected h × w"):
        encode_heatmap(np.zeros(shape, dtype=np.float32), (8, 8), 1.0)


def test_array_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be encoded"):
        encode_crop(np.zeros((0, 0, 3), dtype=np.uint8))
