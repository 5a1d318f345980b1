# SPDX-License-Identifier: Apache-2.0
"""A file of labels overrules the folders; a wrong line refuses the file by its number, a missing picture is named."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, PartUse
from models.data.labels import read_labels
from models.data.layouts import read_folder
from models.errors import InputError
from models.settings import Settings

SETTINGS = Settings()


def draw(folder: Path, *names: str) -> None:
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.full((40, 40, 3), place, np.uint8))


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def labelled(folder: Path, text: str, layout: str = "folder") -> tuple[dict[str, TrainingImage], list[str]]:
    labels = read_labels(write(folder, text), folder, SETTINGS)
    found = read_folder(folder, layout, SETTINGS, labels=labels)
    return {Path(image.path).relative_to(folder).as_posix(): image for image in found.images}, found.left_out


def test_label_overrules_the_folder_and_the_rest_stays(tmp_path: Path) -> None:
    draw(tmp_path, "good/a.png", "good/b.png", "scratch/c.png", "scratch/d.png", "masks/b.png")
    text = (
        "path,judgement,defect_class,group,mask\ngood/b.png,defective,dent,tile 7,masks/b.png\nscratch/c.png,good,,,\n"
    )
    images, left_out = labelled(tmp_path, text)
    told = {name: (image.judgement, image.defect_class) for name, image in images.items()}
    assert told["good/a.png"] == (Judgement.GOOD, None)
    assert told["good/b.png"] == (Judgement.DEFECTIVE, "dent")
    assert told["scratch/c.png"] == (Judgement.GOOD, None)
    assert told["scratch/d.png"] == (Judgement.DEFECTIVE, "scratch")
    assert "masks/b.png" not in told, "a mask is the picture of no part"
    assert images["good/b.png"].group == "tile 7"
    assert images["good/b.png"].mask_path == str(tmp_path / "masks/b.png")
    assert left_out == []


def test_without_a_folder_of_sound_parts_only_labels_judge(tmp_path: Path) -> None:
    draw(tmp_path, "monday/a.png", "monday/b.png", "tuesday/c.png", "d.png")
    images, left_out = labelled(tmp_path, "path;judgement\nmonday/a.png;good\nd.png;Defective\n")
    assert {name: image.judgement for name, image in images.items()} == {
        "monday/a.png": Judgement.GOOD, "d.png": Judgement.DEFECTIVE,
    }  # fmt: skip
    assert len(left_out) == 2
    assert all("has no label" in line for line in left_out)
    draw(tmp_path, "e.png", "wednesday/night/f.png")
    _, left_out = labelled(tmp_path, "path;judgement\nmonday/a.png;good\nd.png;Defective\n")
    assert any(line.startswith("2 × a picture outside the folders that are read, such as e.png") for line in left_out)
    with pytest.raises(InputError, match="--labels"):
        read_folder(tmp_path, "folder", SETTINGS)


def test_sides_of_a_layout_stay_when_a_label_overrules(tmp_path: Path) -> None:
    draw(tmp_path, *(f"test/good/{place}.png" for place in range(12)), "train/good/t.png")
    text = "path,judgement\n" + "".join(f"test/good/{place}.png,defective\n" for place in range(12))
    images, _ = labelled(tmp_path, text, "mvtec")
    assert {image.use for name, image in images.items() if name.startswith("test/")} == {PartUse.HOLDOUT}


def test_pictures_of_one_labelled_part_stand_on_one_side(tmp_path: Path) -> None:
    draw(tmp_path, *(f"good/{place}.png" for place in range(40)))
    lines = "".join(f"good/{place}.png,good,part {place // 4}\n" for place in range(40))
    images, _ = labelled(tmp_path, f"path,judgement,group\n{lines}")
    sides: dict[str, set[PartUse]] = {}
    for image in images.values():
        sides.setdefault(image.group, set()).add(image.use)
    assert len(sides) == 10
    assert all(len(uses) == 1 for uses in sides.values())
    assert {use for uses in sides.values() for use in uses} == set(PartUse)


def test_missing_picture_and_mask_are_named_with_their_line_and_the_rest_is_used(tmp_path: Path) -> None:
    draw(tmp_path, "good/a.png", "good/b.png")
    text = "path,judgement,mask\ngood/gone.png,good,\ngood/b.png,defective,masks/gone.png\n"
    too_long = "x" * 300
    text += f"{too_long}.png,good,\n"
    images, (summary, *left_out) = labelled(tmp_path, text)
    assert summary == "labels: 2 of 3 lines name files that are not there; check the paths"
    assert set(images) == {"good/a.png", "good/b.png"}
    assert images["good/b.png"].mask_path is None
    assert "good/gone.png: labels.csv line 2 names it, but there is no such file" in left_out[0]
    assert "masks/gone.png: labels.csv line 3" in left_out[1]
    assert f"{too_long}.png: labels.csv line 4 names it, but there is no such file" in left_out[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("\n", "line 1: no column path, judgement"),
        ("path,judgement\n", "no line after the column names"),
        ("path\na.png\n", "line 1: no column judgement"),
        ("path,judgement,colour\n", "line 1: unknown column 'colour'; expected path, judgement"),
        ("path,judgement,path\n", "column path twice"),
        ("path,judgement\na.png,bad\n", "line 2: judgement: expected good or defective, got 'bad'"),
        ("path,judgement\n\n,good\n", "line 3: no path"),
        ("path,judgement\na.png\n", "line 2: expected 2 cells, got 1"),
        ("path,judgement\na.png,good\na.png,defective\n", "line 3: a.png stands in line 2 already"),
        ("path,judgement\na.png,good\nx/../a.png,good\n", "line 3: x/../a.png stands in line 2 already"),
        ("path,judgement,defect_class\na.png,good,dent\n", "line 2: a good part has no defect_class, got 'dent'"),
        ("path,judgement,mask\na.png,good,m.png\n", "line 2: a good part has no mask"),
        (f"path,judgement,group\na.png,good,{'x' * 201}\n", "line 2: group: expected at most 200 characters"),
        ('path,judgement\n"a.png,good\n', "check the quotation marks"),
        ("path,judgement\n" + "a,b\n" * 8, "; and 3 more"),
    ],
)
def test_wrong_line_refuses_the_file_by_its_number(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"labels\.csv") as caught:
        read_labels(write(tmp_path, text), tmp_path, SETTINGS)
    assert said in str(caught.value)


def test_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"path,judgement\nb\xe4r.png,good\n")
    with pytest.raises(InputError, match=r"expected UTF-8, byte 16 is not"):
        read_labels(tmp_path / "x.csv", tmp_path, SETTINGS)
    with pytest.raises(InputError, match=r"gone\.csv: cannot be read"):
        read_labels(tmp_path / "gone.csv", tmp_path, SETTINGS)
    with pytest.raises(InputError, match="a folder, not a file of labels"):
        read_labels(tmp_path, tmp_path, SETTINGS)
    with pytest.raises(InputError, match="at most 10 bytes"):
        read_labels(tmp_path / "x.csv", tmp_path, Settings(max_labels_bytes=10))


def test_mark_at_the_start_of_a_spreadsheet_file_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfPath;Judgement\r\na.png;GOOD\r\n")
    (label,) = read_labels(tmp_path / "x.csv", tmp_path, SETTINGS)
    assert (label.path, label.is_defective) == (tmp_path / "a.png", False)
