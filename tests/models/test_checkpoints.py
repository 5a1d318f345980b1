# SPDX-License-Identifier: Apache-2.0
"""Kept steps are taken up by the same training only, written whole, and never cost the training itself."""

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts.jobs import RESUME_FOLDER
from models.__main__ import main
from models.detectors.memory_bank import MemoryBank
from models.errors import CancelledError, InputError
from models.training import checkpoints
from models.training.checkpoints import Checkpoints, digest_of
from tests.models.conftest import draw_part


def _refuse() -> bytes:
    raise AssertionError("made again")


def test_step_that_was_kept_is_not_made_again(tmp_path: Path) -> None:
    first = Checkpoints(tmp_path, "a" * 64, [])
    assert first.content("front.onnx", lambda: b"graph") == b"graph"
    made = first.array("features.npy", lambda: np.arange(6, dtype=np.float16).reshape(2, 3))
    notes: list[str] = []
    again = Checkpoints(tmp_path, "a" * 64, notes)
    assert again.content("front.onnx", _refuse) == b"graph"
    np.testing.assert_array_equal(again.array("features.npy", lambda: made * 0), made)
    assert len([note for note in notes if "taken from the run before" in note]) == 2


def test_steps_of_another_training_are_swept_and_said(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "a" * 64, []).content("front.onnx", lambda: b"old")
    notes: list[str] = []
    other = Checkpoints(tmp_path, "b" * 64, notes)
    assert other.content("front.onnx", lambda: b"new") == b"new"
    assert any("another training" in note for note in notes)
    # And the new ones belong to it from then on.
    assert Checkpoints(tmp_path, "b" * 64, []).content("front.onnx", _refuse) == b"new"


def test_folder_that_no_training_left_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / RESUME_FOLDER).mkdir()
    (tmp_path / RESUME_FOLDER / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no training left there"):
        Checkpoints(tmp_path, "a" * 64, [])
    assert (tmp_path / RESUME_FOLDER / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", [b"xx", b""])
def test_damaged_step_is_done_again_and_said(tmp_path: Path, damage: bytes) -> None:
    first = Checkpoints(tmp_path, "a" * 64, [])
    first.content("front.onnx", lambda: b"graph")
    first.array("features.npy", lambda: np.ones(3, np.float16))
    for name in ("front.onnx", "features.npy"):
        (tmp_path / RESUME_FOLDER / name).write_bytes(damage)
    notes: list[str] = []
    again = Checkpoints(tmp_path, "a" * 64, notes)
    assert again.content("front.onnx", lambda: b"anew") == b"anew"
    np.testing.assert_array_equal(again.array("features.npy", lambda: np.zeros(3, np.float16)), np.zeros(3))
    assert len([note for note in notes if "is not what was kept" in note]) == 2
    # And what was made anew is kept.
    assert Checkpoints(tmp_path, "a" * 64, []).content("front.onnx", _refuse) == b"anew"


def test_nothing_is_kept_unless_asked(tmp_path: Path) -> None:
    silent = Checkpoints(None, "a" * 64, [])
    assert silent.content("front.onnx", lambda: b"graph") == b"graph"
    assert list(tmp_path.iterdir()) == []


def test_full_disk_costs_the_checkpoint_and_not_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    kept = Checkpoints(tmp_path, "a" * 64, notes)

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_whole", full)
    assert kept.content("front.onnx", lambda: b"graph") == b"graph"
    assert any("could not be kept (No space left" in note for note in notes)


def test_sweeping_leaves_nothing(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, "a" * 64, [])
    kept.content("front.onnx", lambda: b"graph")
    kept.sweep()
    assert not (tmp_path / RESUME_FOLDER).exists()


def test_digest_tells_what_a_step_was_made_from() -> None:
    assert digest_of(["a", "b"]) == digest_of(["a", "b"])
    assert len({digest_of(["a", "b"]), digest_of(["ab"]), digest_of(["b", "a"]), digest_of(["a", "b", 0])}) == 4


def _images(folder: Path) -> Path:
    """14 sound parts to train on, 4 sound and 4 defective held out, in layout mvtec."""
    rng = np.random.default_rng(0)
    for name, count in (("train/good", 14), ("test/good", 4), ("test/speck", 4)):
        (folder / name).mkdir(parents=True)
        for place in range(count):
            picture = draw_part(rng, is_defective=name.endswith("speck"))
            assert cv2.imwrite(str(folder / name / f"{place:03}.png"), picture)
    return folder


def _train(images: Path, out: Path, *more: str) -> int:
    named = ["--product", "plate", "--size", "96", "--threads", "1", "--backbone", "compact"]
    return main(["--quiet", "train", "--images", str(images), "--layout", "mvtec", *named, "--out", str(out), *more])


def _stopped_while_fitting(monkeypatch: pytest.MonkeyPatch, images: Path, out: Path) -> None:
    with monkeypatch.context() as context:
        context.setattr(MemoryBank, "fit", _cancel)
        assert _train(images, out, "--resume") == 143


def test_stopped_training_goes_on_and_comes_out_as_one_in_a_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    images, out = _images(tmp_path / "set"), tmp_path / "out"
    _stopped_while_fitting(monkeypatch, images, out)
    assert not (out / "package").exists()
    assert {path.suffix for path in (out / RESUME_FOLDER).iterdir()} == {".onnx", ".npy", ".sha256", ".digest"}
    with monkeypatch.context() as context:
        context.setattr("models.training.fronts.quantize", _refuse)
        assert _train(images, out, "--resume") == 0
    assert not (out / RESUME_FOLDER).exists()
    assert _train(images, tmp_path / "whole") == 0
    resumed, whole = (json.loads((folder / "report.json").read_text()) for folder in (out, tmp_path / "whole"))
    assert sum("taken from the run before" in note for note in resumed["notes"]) == 2
    assert [each["candidate_score"] for each in resumed["holdout"]] == [
        each["candidate_score"] for each in whole["holdout"]
    ]


def test_other_pictures_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    images, out = _images(tmp_path / "set"), tmp_path / "out"
    _stopped_while_fitting(monkeypatch, images, out)
    extra = draw_part(np.random.default_rng(50), is_defective=False)
    assert cv2.imwrite(str(images / "train/good/later.png"), extra)
    assert _train(images, out, "--resume") == 0
    notes = json.loads((out / "report.json").read_text())["notes"]
    assert any("of another training" in note for note in notes)
    assert not any("taken from the run before" in note for note in notes)


@pytest.mark.parametrize("more", [[], ["--fit-budget-ms", "10000"]])
def test_steps_kept_by_a_stopped_training_go_once_it_is_done_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    images, out = _images(tmp_path / "set"), tmp_path / "out"
    _stopped_while_fitting(monkeypatch, images, out)
    with monkeypatch.context() as context:
        context.setattr(MemoryBank, "fit", _cancel)
        assert _train(images, out) == 143
    assert (out / RESUME_FOLDER).exists(), "a stop needs them still"
    assert _train(images, out, *more) == 0
    assert not (out / RESUME_FOLDER).exists()


def test_a_folder_of_somebody_else_stays_when_a_training_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    mine = tmp_path / "out" / RESUME_FOLDER / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert _train(_images(tmp_path / "set"), tmp_path / "out") == 0
    assert mine.read_text() == "mine"


def test_without_the_option_a_stop_leaves_no_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    images, out = _images(tmp_path / "set"), tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr(MemoryBank, "fit", _cancel)
        assert _train(images, out) == 143
    assert not (out / RESUME_FOLDER).exists()


def _cancel(*_arguments: object, **_named: object) -> None:
    raise CancelledError
