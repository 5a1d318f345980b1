# SPDX-License-Identifier: Apache-2.0
"""Wrong labels come first in the order of suspicion; and the command that lists them says what it could not use."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.__main__ import main
from models.cleaning.label_errors import GOOD, suspect_labels
from tests.models.conftest import draw_part

Floats = NDArray[np.float32]


def clouds(seed: int, counts: dict[str, int], apart: float = 2.0) -> tuple[Floats, list[str]]:
    """Features around a centre for each class, and the true classes."""
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(0, apart, 30) for name in counts}
    labels = [name for name, count in counts.items() for _ in range(count)]
    return np.stack([centres[name] + rng.normal(0, 1, 30) for name in labels]).astype(np.float32), labels


def flipped(labels: list[str], rows: list[int], others: list[str]) -> list[str]:
    said = list(labels)
    for row in rows:
        said[row] = next(name for name in others if name != labels[row])
    return said


@pytest.mark.parametrize("seed", range(5))
def test_wrong_labels_come_first_and_the_right_class_is_named(seed: int) -> None:
    features, truth = clouds(seed, {GOOD: 120, "crack": 40, "fray": 20})
    wrong = np.random.default_rng(seed).choice(180, 9, replace=False).tolist()
    found = suspect_labels(features, flipped(truth, wrong, [GOOD, "crack"]), None, seed=0)
    assert set(found.order[:9]) == set(wrong)
    assert [found.suggested[row] for row in wrong] == [truth[row] for row in wrong]
    assert all(found.suspicion[row] > 0 for row in wrong)


def test_a_label_is_judged_by_models_that_have_not_seen_it() -> None:
    # Features of noise alone, more of them than pictures: a model that saw the labels would agree with all of them.
    features = np.random.default_rng(1).normal(0, 1, (100, 400)).astype(np.float32)
    labels = [GOOD, "crack"] * 50
    found = suspect_labels(features, labels, None, seed=0)
    assert 25 < int((found.suspicion > 0).sum()) < 75


def test_folds_by_part_find_a_part_that_is_wrong_as_a_whole() -> None:
    features, truth = clouds(4, {GOOD: 120, "crack": 60}, apart=1.0)
    # What tells one part from all others: its pictures recognise each other by it.
    groups = [str(row // 6) for row in range(180)]
    own = 3 * np.eye(30, dtype=np.float32).repeat(6, axis=0)
    features = np.concatenate([features, *[own] * 8], axis=1)
    wrong = range(12, 18)
    said = flipped(truth, list(wrong), [GOOD, "crack"])
    by_part = suspect_labels(features, said, groups, seed=0)
    by_picture = suspect_labels(features, said, None, seed=0)
    assert set(by_part.order[:6]) == set(wrong)
    assert np.mean([by_picture.order.index(row) for row in wrong]) > 30, "the five others vouch for the wrong label"


def test_a_rare_class_is_no_reason_to_fail_and_a_single_one_is() -> None:
    features, truth = clouds(7, {GOOD: 60, "crack": 20, "fray": 2, "dent": 1})
    found = suspect_labels(features, truth, None, seed=0)
    assert sorted(found.order) == list(range(83))
    assert not {"fray", "dent"} & set(found.suggested), "too rare to be told apart"
    with pytest.raises(ValueError, match="two classes"):
        suspect_labels(features[:60], truth[:60], None, seed=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(11)
    for name, count in (("good", 40), ("speck", 20)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for row in range(count):
            picture = draw_part(rng, is_defective=name == "speck")
            assert cv2.imwrite(str(tmp_path / "images" / name / f"{row:02}.png"), picture)
    return tmp_path / "images"


def test_the_command_lists_what_to_look_at(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sharp = cv2.imread(str(folder / "good/07.png"))
    assert sharp is not None
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    assert cv2.imwrite(str(folder / "good/07.png"), soft)
    (folder / "speck/copy.png").write_bytes((folder / "speck/03.png").read_bytes())
    (folder / "good/broken.png").write_bytes(b"no picture")
    out = tmp_path / "list.json"
    assert main(["clean", "--images", str(folder), "--out", str(out)]) == 0
    told = json.loads(out.read_text(encoding="utf-8"))
    found = {(Path(each["path"]).parent.name + "/" + Path(each["path"]).name): each["fault"] for each in told["found"]}
    assert found == {"good/07.png": "BLURRED", "speck/copy.png": "DUPLICATE"}
    assert told["pictures"] == 61
    assert len(told["suspect_labels"]) == 6
    assert [each["rank"] for each in told["suspect_labels"]] == [1, 2, 3, 4, 5, 6]
    assert len(told["left_out"]) == 1
    assert "broken.png" in told["left_out"][0]
    said = capsys.readouterr().out
    assert "BLURRED" in said
    assert str(out) in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--suggest", "0"], "--suggest: expected a share above 0 up to 1, got 0"),
        (["--backbone", "none"], "backbone: expected auto"),
        (["--layout", "mvtec"], "layout mvtec expects"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    more: list[str], words: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "list.json"
    assert main(["clean", "--images", str(folder), "--out", str(out), *more]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in told
    assert not out.exists()


def test_a_file_that_is_no_list_is_not_overwritten(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("mine", encoding="utf-8")
    assert main(["clean", "--images", str(folder), "--out", str(out)]) == 2
    assert "--out:" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "mine"
