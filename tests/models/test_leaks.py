# SPDX-License-Identifier: Apache-2.0
"""What is held out is not learnt under another name, and a split that is not by part is refused."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts import codec
from contracts.jobs import EVALUATION_NAME, EvaluationReport, TrainingImage
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PartUse, Variant
from models.__main__ import main
from models.cleaning.leaks import MOST_LEAKED, keep_apart
from models.errors import InputError
from models.settings import Settings
from tests.models.conftest import make_job

Picture = NDArray[np.uint8]
SETTINGS = Settings(is_offline=True)
TRAIN, HELD_OUT = 40, 20


def scene(seed: int) -> Picture:
    """A picture like no other: blots in places of their own."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_CUBIC), np.uint8)


def again(picture: Picture) -> Picture:
    """The same seen once more: brighter, a pixel aside, another compression."""
    aside = cv2.warpAffine(picture, np.array([[1, 0, 1], [0, 1, 1]], np.float64), (128, 128), borderMode=1)
    brighter = np.clip(aside.astype(np.float32) * 1.05, 0, 255).astype(np.uint8)
    decoded = cv2.imdecode(cv2.imencode(".jpg", brighter, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR)
    return np.asarray(decoded, np.uint8)


def image(folder: Path, name: str, picture: Picture, use: PartUse) -> TrainingImage:
    path = folder / f"{name}.png"
    assert cv2.imwrite(str(path), picture)
    return TrainingImage(
        path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), judgement=Judgement.GOOD,
        group=name, use=use, source=LabelSource.AUDIT,
    )  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> list[TrainingImage]:
    trained = [image(tmp_path, f"train-{row}", scene(row), PartUse.TRAIN) for row in range(TRAIN)]
    held_out = [image(tmp_path, f"held-{row}", scene(100 + row), PartUse.HOLDOUT) for row in range(HELD_OUT)]
    return [*trained, *held_out]


def test_pictures_of_different_parts_are_left_as_they_are(images: list[TrainingImage]) -> None:
    apart = keep_apart(images, SETTINGS, threads=1)
    assert apart.images == images
    assert apart.left_out == []


def test_a_held_out_part_under_another_name_is_not_learnt(images: list[TrainingImage], tmp_path: Path) -> None:
    renamed = image(tmp_path, "renamed", again(scene(103)), PartUse.TRAIN)
    apart = keep_apart([*images, renamed], SETTINGS, threads=1)
    assert apart.images == images
    (line,) = apart.left_out
    assert "renamed.png" in line
    assert "held-3.png, which is held out" in line


def test_a_training_part_under_two_names_becomes_one_group(images: list[TrainingImage], tmp_path: Path) -> None:
    renamed = image(tmp_path, "renamed", again(scene(7)), PartUse.TRAIN)
    apart = keep_apart([*images, renamed], SETTINGS, threads=1)
    assert apart.left_out == []
    groups = {Path(each.path).stem: each.group for each in apart.images}
    assert groups["renamed"] == groups["train-7"] == "train-7"
    assert len(set(groups.values())) == TRAIN + HELD_OUT


def test_a_split_that_is_not_by_part_is_refused(images: list[TrainingImage], tmp_path: Path) -> None:
    few = int(MOST_LEAKED * TRAIN)
    leaked = [image(tmp_path, f"again-{row}", again(scene(100 + row)), PartUse.TRAIN) for row in range(few + 3)]
    assert len(keep_apart([*images, *leaked[:few]], SETTINGS, threads=1).left_out) == few
    with pytest.raises(InputError, match="give all its pictures the same part id") as refused:
        keep_apart([*images, *leaked], SETTINGS, threads=1)
    assert f"leak: {few + 3} of {TRAIN + few + 3} training pictures" in str(refused.value)
    assert "part 'again-0' trains, 'held-0' is held out" in str(refused.value)


def test_a_picture_that_cannot_be_read_is_left_to_the_training(images: list[TrainingImage], tmp_path: Path) -> None:
    (tmp_path / "train-4.png").write_bytes(b"no picture")
    assert keep_apart(images, SETTINGS, threads=1).images == images


@pytest.mark.parametrize("is_of_central", [True, False])
def test_a_job_of_central_is_checked_before_it_learns(
    is_of_central: bool, images: list[TrainingImage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaked = [image(tmp_path, f"again-{row}", again(scene(100 + row)), PartUse.TRAIN) for row in range(HELD_OUT)]
    job = make_job(tmp_path / "job", [*images, *leaked], backbone="none")
    job = job.model_copy(update={"dataset_id": "a" * 64 if is_of_central else None})
    path = tmp_path / "job.json"
    path.write_bytes(codec.encode(job))
    assert main(["run-job", str(path)]) == 2
    # A folder's own split is the affair of who made it: there the unknown backbone is what stops the training.
    assert ("leak: 20 of 60" in capsys.readouterr().err) is is_of_central


def test_what_was_left_out_for_a_leak_stands_in_the_evaluation(images: list[TrainingImage], tmp_path: Path) -> None:
    renamed = image(tmp_path, "renamed", again(scene(103)), PartUse.TRAIN)
    job = make_job(tmp_path / "job", [*images, renamed], detector=DetectorKind.MEMORY_BANK, variants=[Variant.FP32])
    path = tmp_path / "job.json"
    path.write_bytes(codec.encode(job.model_copy(update={"dataset_id": "a" * 64})))
    assert main(["--quiet", "run-job", str(path)]) == 0
    report = EvaluationReport.model_validate_json((Path(job.output_dir) / EVALUATION_NAME).read_bytes())
    assert report.train_good == TRAIN
    assert [line for line in report.left_out if "renamed.png: shows the same as" in line]
