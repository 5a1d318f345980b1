# SPDX-License-Identifier: Apache-2.0
"""Folders as people really have them: what is odd is left out by name, the rest becomes judged pictures."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from contracts.vocabulary import Judgement
from models.data.layouts import read_folder
from models.errors import InputError
from models.settings import Settings

SETTINGS = Settings()


def draw(path: Path, value: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((40, 40, 3), value, np.uint8))[1].tobytes())
    return path


def test_what_is_no_readable_file_is_left_out_by_name(tmp_path: Path) -> None:
    draw(tmp_path / "good/a.png")
    (tmp_path / "good/folder.png").mkdir()
    (tmp_path / "good/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "good/empty.png").touch()
    os.mkfifo(tmp_path / "good/pipe.png")
    found = read_folder(tmp_path, "folder", SETTINGS)
    assert [Path(image.path).name for image in found.images] == ["a.png"]
    assert len(found.left_out) == 4
    for name in ("folder.png", "gone.png", "empty.png", "pipe.png"):
        assert any(name in line for line in found.left_out)


def test_companions_are_passed_over_and_other_kinds_counted(tmp_path: Path) -> None:
    draw(tmp_path / "good/a.png")
    draw(tmp_path / "good/._a.png")
    for name in ("b.heic", "c.heic", "d.raw", "notes.txt"):
        (tmp_path / "good" / name).write_text("x")
    found = read_folder(tmp_path, "folder", SETTINGS)
    assert [Path(image.path).name for image in found.images] == ["a.png"]
    assert found.left_out == ["2 × .heic, 1 × .raw: not read as pictures; save them as PNG or JPEG if they are"]


def test_folders_of_companions_are_no_defects(tmp_path: Path) -> None:
    for name in ("good/a.png", ".thumbnails/a.png", "good/.ipynb_checkpoints/a.png"):
        draw(tmp_path / name)
    draw(tmp_path / "other/train/good/a.png")
    draw(tmp_path / "other/train/.thumbnails/a.png")
    for folder, layout in ((tmp_path, "folder"), (tmp_path / "other", "mvtec")):
        found = read_folder(folder, layout, SETTINGS)
        assert [image.judgement for image in found.images] == [Judgement.GOOD]
        assert not any("thumbnails" in line or "ipynb" in line for line in found.left_out)


@pytest.mark.parametrize("name", ["OK", "Good", "free", "sound"])
def test_every_name_of_sound_parts_is_understood_by_every_layout_of_folders(tmp_path: Path, name: str) -> None:
    draw(tmp_path / name / "a.png")
    draw(tmp_path / "sides/train" / name / "a.png")
    for folder, layout in ((tmp_path, "folder"), (tmp_path / "sides", "mvtec")):
        (image,) = read_folder(folder, layout, SETTINGS).images
        assert (image.judgement, image.defect_class) == (Judgement.GOOD, None)


def test_pictures_where_the_layout_does_not_look_are_counted(tmp_path: Path) -> None:
    for name in ("good/a.png", "good/monday/b.png", "c.png"):
        draw(tmp_path / name)
    found = read_folder(tmp_path, "folder", SETTINGS)
    assert [Path(image.path).name for image in found.images] == ["a.png"]
    (line,) = found.left_out
    assert line.startswith("2 × a picture outside the folders that are read, such as c.png: move each")


def test_mask_that_two_pictures_could_have_is_that_of_the_tested_one(tmp_path: Path) -> None:
    for name in ("train/good/000", "train/dent/000", "train/dent/001", "test/dent/000"):
        draw(tmp_path / f"{name}.png")
    for stem in ("000", "001"):
        draw(tmp_path / f"ground_truth/dent/{stem}_mask.png", 255)
    found = read_folder(tmp_path, "mvtec", SETTINGS)
    masks = {image.group: image.mask_path and Path(image.mask_path).name for image in found.images}
    assert masks == {
        "train/good/000": None, "train/dent/000": None, "train/dent/001": "001_mask.png",
        "test/dent/000": "000_mask.png",
    }  # fmt: skip
    (line,) = found.left_out
    assert "dent/000_mask.png: taken for the mask of test/dent; train/dent/000.png is used without a mask" in line


def test_ending_that_is_not_utf8_is_counted_in_letters_that_can_be_written(tmp_path: Path) -> None:
    draw(tmp_path / "good/a.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "good") + b"/b.\xff")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (line,) = read_folder(tmp_path, "folder", SETTINGS).left_out
    assert line.startswith("1 × .\\udcff: not read as pictures")
    line.encode()


def test_name_that_is_not_utf8_is_left_out(tmp_path: Path) -> None:
    draw(tmp_path / "good/a.png")
    odd = os.fsencode(tmp_path / "good") + b"/b\xe4r.png"
    try:
        Path(os.fsdecode(odd)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    found = read_folder(tmp_path, "folder", SETTINGS)
    assert len(found.images) == 1
    (line,) = found.left_out
    assert "not UTF-8; rename it" in line
    line.encode()


def test_long_names_stay_groups_of_their_own(tmp_path: Path) -> None:
    for end in "ab":
        draw(tmp_path / "good" / ("x" * 240 + f"{end}.png"))
    groups = {image.group for image in read_folder(tmp_path, "folder", SETTINGS).images}
    assert len(groups) == 2
    assert all(len(group) <= 200 for group in groups)


def test_split_file_that_names_missing_pictures_leaves_them_out(tmp_path: Path) -> None:
    draw(tmp_path / "MT_Free/Imgs/a.jpg")
    split = {
        "train_good": ["MT_Free/Imgs/a.jpg", "MT_Free/Imgs/gone.jpg"], "test_good": [], "test_defect": {},
        "group": {"MT_Free/Imgs/a.jpg": 1, "MT_Free/Imgs/gone.jpg": 2}, "half": {},
    }  # fmt: skip
    (tmp_path / "split.json").write_text(json.dumps(split))
    found = read_folder(tmp_path, "magnetic-tile", SETTINGS)
    assert len(found.images) == 1
    assert "gone.jpg: cannot be read (No such file or directory)" in found.left_out[0]


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good/a.png").touch()
    with pytest.raises(InputError, match=r"no usable picture there .*a\.png: the file is empty"):
        read_folder(tmp_path, "folder", SETTINGS)


def test_no_folder_of_sound_parts_is_said_with_what_to_do(tmp_path: Path) -> None:
    draw(tmp_path / "scratch/a.png")
    with pytest.raises(InputError, match=r"expects a folder `good` .*--labels"):
        read_folder(tmp_path, "folder", SETTINGS)


def shut(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Nobody may list these folders or see what lies in them; a test that runs as root sees nothing of permissions."""

    def barred(act: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any = ".", *given: Any, **named: Any) -> Any:
            if isinstance(path, (str, Path)):
                is_inside = any(Path(path).is_relative_to(each) and Path(path) != each for each in folders)
                if is_inside or (act is not os.stat and Path(path) in folders):
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return act(path, *given, **named)

        return look

    for name in ("listdir", "scandir", "stat"):
        monkeypatch.setattr(os, name, barred(getattr(os, name)))


@pytest.mark.parametrize(
    ("layout", "open_one", "shut_one"),
    [
        ("folder", "good", "scratch"),
        ("folder", "good", "good/deeper"),
        ("mvtec", "train/good", "train/scratch"),
        ("mvtec", "train/good", "test/scratch"),
        ("mvtec", "train/good", "ground_truth/scratch"),
        ("magnetic-tile", "MT_Free/Imgs", "MT_Blowhole"),
        ("magnetic-tile", "MT_Free/Imgs", "MT_Blowhole/Imgs"),
    ],
)
def test_a_folder_that_may_not_be_looked_into_is_left_out_by_name_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, open_one: str, shut_one: str
) -> None:
    draw(tmp_path / open_one / "exp1_num_1.png")
    (tmp_path / open_one / "exp1_num_1.png").rename(tmp_path / open_one / "exp1_num_1.jpg")
    draw(tmp_path / shut_one / "Imgs/exp1_num_9000.jpg")
    draw(tmp_path / shut_one / "exp1_num_9000.jpg")
    shut(monkeypatch, tmp_path / shut_one)
    found = read_folder(tmp_path, layout, SETTINGS)
    assert [Path(image.path).parent for image in found.images] == [tmp_path / open_one]
    (line,) = (line for line in found.left_out if "cannot be looked into" in line)
    assert f"{shut_one}: a folder that cannot be looked into (Permission denied); allow it" in line


def test_labels_that_may_not_be_looked_at_refuse_bsdata_whose_defective_parts_would_pass_as_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(4):
        draw(tmp_path / f"data/x_{day}_a_b.png", day)
    (tmp_path / "labels").mkdir()
    shut(monkeypatch, tmp_path / "labels")
    with pytest.raises(InputError, match=r"labels/.*cannot be read \(Permission denied\)"):
        read_folder(tmp_path, "bsdata", SETTINGS)


def test_sound_parts_that_may_not_be_looked_at_are_named_where_they_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "good/a.png")
    draw(tmp_path / "scratch/a.png")
    shut(monkeypatch, tmp_path / "good")
    with pytest.raises(InputError, match=r"expects a folder `good` in .*good: a folder that cannot be looked into"):
        read_folder(tmp_path, "folder", SETTINGS)
