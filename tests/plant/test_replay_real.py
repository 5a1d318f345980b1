# SPDX-License-Identifier: Apache-2.0
"""Replay of the real image folders: the split keeps its word on the very files that are judged."""

import os
from pathlib import Path

import pytest

from plant.replay.feed import ReplayFeed, adapt_scenario, load_replay
from plant.scenario import load_scenario

pytestmark = pytest.mark.real_images


@pytest.fixture(name="real_images", scope="module")
def _real_images() -> Path:
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("SIGHTLINE_DATA_DIR", default))
    if not (folder / "magnetic_tile").is_dir():
        pytest.skip(f"no real inspection images at {folder}; set SIGHTLINE_DATA_DIR")
    return folder


def test_no_tile_of_the_training_side_is_judged_and_none_stands_on_both_sides(real_images: Path) -> None:
    replay = load_replay(real_images / "magnetic_tile", "magnetic-tile", "Break")
    assert (len(replay.commissioning), len(replay.stream)) == (300, 955)
    trained = {item.part_id for item in replay.commissioning}
    sides = {side: {item.part_id for item in replay.stream if item.side == side} for side in "AB"}
    assert not trained & (sides["A"] | sides["B"])
    assert not sides["A"] & sides["B"]
    for side in "AB":
        kinds = {item.defect_class for item in replay.stream if item.side == side}
        assert kinds == {None, "blowhole", "break", "crack", "fray", "uneven"}
        assert sum(item.defect_class is None for item in replay.stream if item.side == side) > 200


def test_break_never_appears_before_its_part_and_side_b_shows_no_tile_of_side_a(real_images: Path) -> None:
    replay = load_replay(real_images / "magnetic_tile", "magnetic-tile", "Break")
    scenario = adapt_scenario(load_scenario("new-defect"), replay)
    feed = ReplayFeed(scenario, replay, "st-1")
    first = [feed.part(trigger, "A", 0) for trigger in range(1, 300)]
    after = [feed.part(trigger, "B", 0) for trigger in range(1500, 1800)]
    assert "break" not in {part.defect_class for part in first}
    assert "break" in {part.defect_class for part in after}
    assert not {part.part_id for part in first} & {part.part_id for part in after}
    assert all(part.pixels.ndim == 3 for part in first[:20])


def test_ball_screws_come_in_order_of_time_and_start_sound(real_images: Path) -> None:
    replay = load_replay(real_images / "bsdata", "bsdata")
    times = [item.path.name.split("_")[1] for item in replay.stream]
    assert times == sorted(times)
    assert len({item.part_id for item in replay.stream}) == 15
    assert not any(item.is_defective for item in replay.commissioning)
    assert sum(bool(item.is_defective) for item in replay.stream) > 300
    last_day = [item for item in replay.stream if item.path.name.split("_")[1].startswith("200916")]
    assert all(item.is_defective for item in last_day)
