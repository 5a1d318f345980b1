# SPDX-License-Identifier: Apache-2.0
"""Replayed folders: each layout is read as written, no part stands on two sides, nothing trained on is judged."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from plant.line.cameras import LineSimulator
from plant.line.truth import TruthBook
from plant.replay.feed import (
    ReplayError,
    ReplayFeed,
    ReplaySet,
    adapt_scenario,
    check_pictures,
    load_replay,
    read_picture,
)
from plant.scenario import Scenario, load_scenario


def picture(path: Path, level: int = 90, size: tuple[int, int] = (24, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(size, level, np.uint8))
    return path


def mvtec(root: Path) -> Path:
    for number in range(6):
        picture(root / f"Bottle X/train/good/{number:03}.png")
        picture(root / f"Bottle X/test/good/{number:03}.png")
        picture(root / f"Bottle X/test/Broken/{number:03}.png", 30)
        picture(root / f"Bottle X/test/dirty/{number:03}.png", 60)
        picture(root / f"Bottle X/ground_truth/Broken/{number:03}_mask.png", 255)
    return root / "Bottle X"


def tiles(root: Path, sound: int = 8) -> Path:
    split: dict[str, object] = {"train_good": [], "test_good": [], "test_defect": {}, "group": {}, "half": {"0": [40]}}
    group: dict[str, int] = {}

    def add(name: str, number: int) -> str:
        picture(root / name)
        group[name] = number
        return name

    split["train_good"] = [add(f"MT_Free/Imgs/t{n}.jpg", n // 2) for n in range(sound)]
    split["test_good"] = [add(f"MT_Free/Imgs/g{n}.jpg", 20 + n // 3) for n in range(18)]
    split["test_defect"] = {
        kind: [add(f"MT_{kind.title()}/Imgs/{kind}{n}.jpg", 40 + 10 * place + n // 2) for n in range(8)]
        for place, kind in enumerate(("break", "crack", "fray"))
    }
    add("MT_Free/Imgs/beside.jpg", 40)
    split["group"] = group
    (root / "split.json").write_text(json.dumps(split))
    return root


def screws(root: Path) -> Path:
    for day in range(20):
        for place, viewpoint in enumerate(("100_000", "200_090", "300_180")):
            name = f"01_2009{day + 1:02}11{place:02}00_{viewpoint}_crop_2"
            picture(root / f"data/{name}.jpg", size=(20, 60))
            if day >= 12:
                (root / "labels").mkdir(exist_ok=True)
                (root / f"labels/{name}.json").write_text("{}")
    picture(root / "data/01_200916110000_100_000_crop_2.jpg")
    (root / "labels/01_200916110000_100_000_crop_2.json").unlink()
    picture(root / "data/01_200917110000_100_000_crop_2.jpg")
    picture(root / "data/KGT1-S-060.jpg")
    return root


def plain(root: Path) -> Path:
    for number in range(5):
        picture(root / f"b/{number}.png")
        picture(root / f"good/{number}.png")
    (root / "notes.txt").write_text("no picture")
    return root


def sides_of(replay: ReplaySet) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {}
    for item in replay.stream:
        sides.setdefault(item.part_id, set()).add(item.side)
    return sides


def test_mvtec_is_read_with_truth_and_masks(tmp_path: Path) -> None:
    replay = load_replay(mvtec(tmp_path), "mvtec")
    assert (replay.product, replay.kinds, replay.is_ordered) == ("bottle-x", ("broken", "dirty"), False)
    assert len(replay.commissioning) == 6
    assert all(item.is_defective is False for item in replay.commissioning)
    assert sum(item.is_defective is False for item in replay.stream) == 6
    assert all((item.mask_path is not None) == (item.defect_class == "broken") for item in replay.stream)


def test_magnetic_tile_honours_the_split(tmp_path: Path) -> None:
    replay = load_replay(tiles(tmp_path), "magnetic-tile", "BREAK")
    assert replay.new_defect == "break"
    assert (len(replay.commissioning), len(replay.stream)) == (8, 18 + 24)
    assert {item.part_id for item in replay.commissioning} == {f"tile-{n}" for n in range(4)}
    assert not {item.path for item in replay.commissioning} & {item.path for item in replay.stream}
    assert not {item.part_id for item in replay.commissioning} & {item.part_id for item in replay.stream}
    assert replay.left_out == {"sound picture of a tile that also has defective ones": 1}
    assert {item.side for item in replay.stream if item.part_id == "tile-40"} == {"A"}


def test_a_tile_that_commissioned_is_left_out_even_if_the_split_is_wrong(tmp_path: Path) -> None:
    root = tiles(tmp_path)
    split = json.loads((root / "split.json").read_text())
    split["group"]["MT_Break/Imgs/break0.jpg"] = 0
    (root / "split.json").write_text(json.dumps(split))
    replay = load_replay(root, "magnetic-tile")
    assert "tile-0" not in {item.part_id for item in replay.stream}
    assert replay.left_out["tile was used for commissioning"] == 1


@pytest.mark.parametrize(("layout", "make"), [("mvtec", mvtec), ("magnetic-tile", tiles)])
def test_no_part_stands_on_both_sides_and_each_kind_on_each(
    tmp_path: Path, layout: str, make: Callable[[Path], Path]
) -> None:
    replay = load_replay(make(tmp_path), layout)
    assert all(len(sides) == 1 for sides in sides_of(replay).values())
    for kind in (None, *replay.kinds):
        assert {item.side for item in replay.stream if item.defect_class == kind} == {"A", "B"}


def test_bsdata_is_played_in_order_of_time_without_the_unlabelled_last_day(tmp_path: Path) -> None:
    replay = load_replay(screws(tmp_path), "bsdata")
    assert (replay.product, replay.kinds, replay.is_ordered) == ("ball-screw", ("pitting",), True)
    assert len(replay.commissioning) == 3 * 8
    assert [item.path.name for item in replay.stream] == sorted(
        (item.path.name for item in replay.stream), key=lambda name: name.split("_")[1]
    )
    assert replay.left_out == {
        "name without a time and viewpoint": 1,
        "unlabelled picture of the last day, which shows wear": 1,
    }
    assert {item.part_id for item in replay.stream} == {
        "viewpoint-100-000",
        "viewpoint-200-090",
        "viewpoint-300-180",
    }
    assert all(item.is_defective == (item.defect_class == "pitting") for item in replay.stream)


def test_a_plain_folder_has_no_truth(tmp_path: Path) -> None:
    replay = load_replay(plain(tmp_path), "folder")
    assert [item.path.name for item in replay.stream] == [f"{n}.png" for n in range(5)]
    assert {item.is_defective for item in replay.stream} == {None}
    assert len(replay.commissioning) == 5


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("mvtec", "expects train/good/"),
        ("magnetic-tile", "expects split.json"),
        ("bsdata", "expects data/ and labels/"),
        ("folder", "found no pictures"),
        ("zip", "--layout: expected one of mvtec, magnetic-tile, bsdata, folder, got zip"),
        (None, "got none"),
    ],
)
def test_a_folder_of_another_layout_is_refused_with_what_was_expected(
    tmp_path: Path, layout: str | None, expected: str
) -> None:
    with pytest.raises(ReplayError, match=expected):
        load_replay(tmp_path, layout)


def test_a_new_kind_that_does_not_exist_or_cannot_be_is_refused(tmp_path: Path) -> None:
    root = tiles(tmp_path / "tiles")
    with pytest.raises(ReplayError, match="expected one of break, crack, fray, got 'Rust'"):
        load_replay(root, "magnetic-tile", "Rust")
    with pytest.raises(ReplayError, match="order of time"):
        load_replay(screws(tmp_path / "screws"), "bsdata", "pitting")
    with pytest.raises(ReplayError, match="brings none"):
        load_replay(root, "magnetic-tile", "Break", load_scenario("lamp-fades"))


def test_a_split_with_faults_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text('{"train_good": []}')
    with pytest.raises(ReplayError, match="missing or of another shape: test_good, test_defect, group"):
        load_replay(tmp_path, "magnetic-tile")
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(ReplayError, match="expected JSON"):
        load_replay(tmp_path, "magnetic-tile")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("group", {"MT_Free/Imgs/t0.jpg": "0"}, "group.MT_Free/Imgs/t0.jpg: Input should be a valid integer, got '0'"),
        ("group", ["MT_Free/Imgs/t0.jpg"], "group: Input should be a valid dictionary"),
        ("test_defect", {"break": "MT_Break/Imgs/break0.jpg"}, "test_defect.break: Input should be a valid list"),
        ("train_good", [["MT_Free/Imgs/t0.jpg"]], "train_good.0: Input should be a valid string"),
        ("half", [40], "half: Input should be a valid dictionary"),
    ],
)
def test_a_split_of_another_shape_is_refused_with_its_place(
    tmp_path: Path, key: str, value: object, expected: str
) -> None:
    root = tiles(tmp_path)
    split = json.loads((root / "split.json").read_text())
    (root / "split.json").write_text(json.dumps(split | {key: value}))
    with pytest.raises(ReplayError, match=re.escape(expected)) as caught:
        load_replay(root, "magnetic-tile")
    assert f"of another shape: {key} " in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "3", "\xff", "[" * 100_000])
def test_a_split_that_is_no_mapping_in_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text, "latin-1")
    with pytest.raises(ReplayError, match=r"expected (JSON|a mapping)"):
        load_replay(tmp_path, "magnetic-tile")


def test_a_folder_without_sound_pictures_is_refused_with_where_they_belong(tmp_path: Path) -> None:
    picture(tmp_path / "pictures/0.png")
    with pytest.raises(ReplayError, match=r"no sound pictures .* layout folder expects them in good/"):
        load_replay(tmp_path / "pictures", "folder")
    root = mvtec(tmp_path)
    for path in (root / "train/good").iterdir():
        path.unlink()
    with pytest.raises(ReplayError, match=r"layout mvtec expects them in train/good/"):
        load_replay(root, "mvtec")


def test_too_few_sound_pictures_for_a_first_training_are_refused_before_the_start(tmp_path: Path) -> None:
    root = tiles(tmp_path, sound=14)
    with pytest.raises(ReplayError, match=r"at least 15 sound pictures, got 14; .* train_good in split\.json"):
        check_pictures(root, load_replay(root, "magnetic-tile"))
    root = tiles(tmp_path, sound=15)
    check_pictures(root, load_replay(root, "magnetic-tile"))


def test_files_that_are_no_pictures_are_named_before_the_start(tmp_path: Path) -> None:
    root = tiles(tmp_path, sound=16)
    for name in ("t3", "t4", "g2", "g5"):
        (root / f"MT_Free/Imgs/{name}.jpg").write_text("no picture")
    with pytest.raises(
        ReplayError, match=r"4 of 58 files cannot be read as pictures: .*t3\.jpg.* and 1 more; expected"
    ):
        check_pictures(root, load_replay(root, "magnetic-tile"))


def adapted(replay: ReplaySet) -> Scenario:
    return adapt_scenario(load_scenario("new-defect"), replay)


def test_the_story_is_told_with_the_kinds_of_the_folder(tmp_path: Path) -> None:
    scenario = adapted(load_replay(tiles(tmp_path), "magnetic-tile", "break"))
    assert {plan.product for plan in scenario.stations} == {"magnetic-tile"}
    assert set(scenario.defects) == {"crack", "fray"}
    assert sum(scenario.defects.values()) == pytest.approx(sum(load_scenario("new-defect").defects.values()))
    assert scenario.new_defect is not None
    assert scenario.new_defect.kind == "break"
    assert adapt_scenario(scenario, load_replay(tiles(tmp_path), "magnetic-tile", "break")) == scenario


def test_the_new_kind_waits_for_its_part_and_the_sides_stay_apart(tmp_path: Path) -> None:
    replay = load_replay(tiles(tmp_path), "magnetic-tile", "break")
    scenario = adapted(replay)
    feed = ReplayFeed(scenario, replay, "st-1")
    before = [feed.part(trigger, "A", 0) for trigger in range(1, 300)]
    later = {side: [feed.part(trigger, side, 0) for trigger in range(301, 900)] for side in "AB"}
    assert "break" not in {part.defect_class for part in before}
    assert all("break" in {part.defect_class for part in parts} for parts in later.values())
    assert not {part.part_id for part in later["A"]} & {part.part_id for part in later["B"]}
    assert feed.part(7, "A", 0).part_id == ReplayFeed(scenario, replay, "st-1").part(7, "A", 0).part_id


def test_grey_pictures_are_sent_as_they_are_with_three_channels(tmp_path: Path) -> None:
    replay = load_replay(tiles(tmp_path), "magnetic-tile")
    part = ReplayFeed(adapted(replay), replay, "st-2").part(1, "A", 0)
    assert part.pixels.shape == (24, 40, 3)
    assert np.array_equal(part.pixels[..., 0], part.pixels[..., 2])


def test_a_picture_is_shown_as_its_pixels_lie_whatever_exif_says(tmp_path: Path) -> None:
    # Stations and trainings do not turn pictures either.
    path = picture(tmp_path / "turned.jpg", size=(24, 40))
    plain_jpeg = path.read_bytes()
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    path.write_bytes(plain_jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain_jpeg[2:])
    turned = cv2.imread(str(path))
    assert turned is not None
    assert turned.shape == (40, 24, 3)
    assert read_picture(path).shape == (24, 40, 3)


def test_ordered_pictures_come_in_turn_and_start_again(tmp_path: Path) -> None:
    replay = load_replay(plain(tmp_path), "folder")
    scenario = adapted(replay)
    feed = ReplayFeed(scenario, replay, "st-2")
    ids = [feed.part(trigger, "A", trigger - 1).part_id for trigger in range(1, 9)]
    assert len(set(ids)) < len(ids)
    assert all(feed.part(trigger, "A", trigger - 1).is_defective is None for trigger in range(1, 4))


def test_ordered_viewpoints_are_shared_among_the_stations(tmp_path: Path) -> None:
    replay = load_replay(screws(tmp_path), "bsdata")
    scenario = adapted(replay)
    shown = {
        name: {ReplayFeed(scenario, replay, name).part(t, "A", t - 1).part_id for t in range(1, 60)}
        for name in ("st-1", "st-2")
    }
    assert not shown["st-1"] & shown["st-2"]


def test_commissioning_pictures_come_once_each(tmp_path: Path) -> None:
    replay = load_replay(tiles(tmp_path), "magnetic-tile")
    scenario = adapted(replay)
    parts = [list(ReplayFeed(scenario, replay, name).commissioning(replay.product, 10)) for name in ("st-1", "st-2")]
    assert sum(len(each) for each in parts) == 8


@pytest.mark.parametrize("pictures", [1, 7])
def test_an_odd_number_of_commissioning_pictures_is_used_up_at_two_stations(tmp_path: Path, pictures: int) -> None:
    for number in range(pictures):
        picture(tmp_path / f"line/good/{number}.png")
    picture(tmp_path / "line/later/0.png")
    truth = TruthBook(tmp_path / "truth.db")
    line = LineSimulator.build(load_scenario("new-defect"), truth, load_replay(tmp_path / "line", "folder"))
    assert len(line.cameras) == 2
    shown = [each.part_id for each in line.commissioning("line", line.scenario.commissioning_parts)]
    line.stop()
    truth.close()
    assert sorted(shown) == [f"good-{number}" for number in range(pictures)]


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = plain(tmp_path)
    (root / "b/0.png").write_text("not a picture")
    with pytest.raises(ReplayError, match=r"0.png: expected a JPEG, PNG or BMP picture"):
        read_picture(root / "b/0.png")
