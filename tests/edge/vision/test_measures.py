# SPDX-License-Identifier: Apache-2.0
"""The measures of a picture against their definitions, worked out in full."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.vision.measures import measure


def pictures() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(8)
    noise = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    slope = np.tile(np.linspace(0, 255, 60).astype(np.uint8)[None, :, None], (40, 1, 3))
    board = (np.indices((40, 60)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    return [noise, slope, board, np.full((40, 60, 3), 77, np.uint8), noise[:2, :2]]


@pytest.mark.parametrize("number", range(5))
def test_measures_are_what_they_are_defined_as(number: int) -> None:
    picture = np.ascontiguousarray(pictures()[number])
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    edges = cv2.Laplacian(grey.astype(np.float64), cv2.CV_64F)
    found = measure(picture)
    assert found.brightness == pytest.approx(grey.mean(), abs=1e-3)
    assert found.contrast == pytest.approx(grey.std(), abs=1e-3)
    assert found.blur == pytest.approx(edges.var(), rel=1e-9, abs=1e-3)
    assert found.colour == pytest.approx(picture[..., 2].mean() - picture[..., 0].mean(), abs=1e-3)
