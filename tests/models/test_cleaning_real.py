# SPDX-License-Identifier: Apache-2.0
"""On real tiles, wrong labels and blurred pictures are found as `benchmarks/cleaning.py` says."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.cleaning import blurred, flips
from models.cleaning.command import look_at
from models.cleaning.seen import Eye
from models.data.layouts import read_layout
from models.data.pictures import read_picture
from models.graphs.trunks import SHIPPED_NAME, resolve
from models.settings import Settings

_SEED = 31


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.real_images
def test_wrong_labels_and_blur_are_found_among_real_tiles(real_images: Path) -> None:
    settings = Settings()
    images = read_layout(real_images / "magnetic_tile", "magnetic-tile")
    looked = look_at(images, Eye(resolve(settings, SHIPPED_NAME, None, []), threads=1), settings)
    pictures = [read_picture(Path(image.path), settings) for image in looked.images]
    rng = np.random.default_rng(_SEED)
    assert flips(looked, rng, _SEED, is_by_part=False)["in_first_10_pct"] >= 0.8
    found = blurred(looked, pictures, rng, noise=0.0)
    assert found["found"] >= 0.9
    assert found["false"] <= 0.02
