# SPDX-License-Identifier: Apache-2.0
"""`sightline-models train` on folders as people have them: uses what it can, names the rest, leaves no halves."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from contracts.jobs import EVALUATION_NAME, MOST_THREADS, MOST_WORKERS
from contracts.vocabulary import PartUse
from models.__main__ import _MOST_THREADS, _MOST_WORKERS, main
from models.clock import SystemClock
from models.errors import CancelledError, InputError
from models.files import alone_in, write_whole
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import draw_part, make_job, write_parts

PRODUCT = ["--product", "plate", "--size", "96", "--threads", "1", "--backbone", "compact"]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in layout mvtec: 14 sound to train on, 4 sound and 4 defective held out."""
    monkeypatch.setenv("SIGHTLINE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    rng = np.random.default_rng(0)
    for name, count in (("train/good", 14), ("test/good", 4), ("test/speck", 4)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for place in range(count):
            picture = draw_part(rng, is_defective=name.endswith("speck"))
            assert cv2.imwrite(str(tmp_path / "set" / name / f"{place:03}.png"), picture)
    return tmp_path / "set"


def train(images: Path, out: Path, *more: str) -> int:
    return main(["--quiet", "train", "--images", str(images), "--layout", "mvtec", *PRODUCT, "--out", str(out), *more])


def test_odd_pictures_are_left_out_by_name_and_the_rest_is_learnt(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = images / "train/good"
    (good / "empty.png").touch()
    (good / "text.png").write_text("hello")
    (good / "folder.png").mkdir()
    Image.new("L", (1, 1)).save(good / "pixel.png")
    Image.fromarray(draw_part(np.random.default_rng(9), is_defective=False)).convert("CMYK").save(good / "cmyk.jpg")
    frames = [Image.new("L", (96, 96), level) for level in (10, 200)]
    frames[0].save(good / "moving.gif", save_all=True, append_images=frames[1:])
    (good / "twin.png").write_bytes((images / "test/good/000.png").read_bytes())
    assert train(images, tmp_path / "out") == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["train_good"] == 15
    assert len(report["holdout"]) == 8
    for name in ("empty.png", "text.png", "folder.png", "pixel.png", "moving.gif", "twin.png"):
        assert sum(f"train/good/{name}" in line for line in report["left_out"]) == 1
    assert len(report["left_out"]) == 6
    assert any("cmyk.jpg" in note and "CMYK" in note for note in report["notes"])
    page = (tmp_path / "out/report.html").read_text()
    told = capsys.readouterr().out
    for name in ("empty.png", "moving.gif"):
        assert name in page
        assert name in told
    assert "report.html" in told


def test_labels_overrule_and_missing_ones_are_named(images: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("path,judgement,defect_class\ntest/good/001.png,defective,speck\ntest/good/nine.png,good,\n")
    assert train(images, tmp_path / "out", "--labels", str(labels)) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert sum(each["judgement"] == "DEFECTIVE" for each in report["holdout"]) == 5
    assert any("test/good/nine.png: labels.csv line 3 names it" in line for line in report["left_out"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--labels", "/nowhere/l.csv"], "l.csv: cannot be read"),
        (["--product", "Plate 7"], "--product: expected small letters, digits, - and _, at most 63, got 'Plate 7'"),
        (["--budget-minutes", "-1"], "--budget-minutes: expected more than 0, got -1.0"),
        (["--weights", "/nowhere/w.onnx"], "/nowhere/w.onnx"),
        (["--size", "1"], "--size: expected 64 … 2048 px a side, got 1"),
        (["--size", "4096"], "--size: expected 64 … 2048 px a side, got 4096"),
        (["--detector", "best"], "--detector: expected auto, memory-bank, mixed or classifier, got 'best'"),
    ],
)
def test_wrong_argument_is_one_line_and_leaves_nothing(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert train(images, tmp_path / "out", *more) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out/package").exists()
    assert not (tmp_path / "out/report.json").exists()


def test_evaluation_appears_last_and_its_failure_brings_the_earlier_results_back(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(images, out) == 0
    before = _contents(out)
    seen: list[set[str]] = []

    def note(path: Path, content: bytes) -> None:
        seen.append({entry.name for entry in out.iterdir()})
        write_whole(path, content)
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("models.training.results.write_whole", note)
    assert train(images, out, "--seed", "7") == 2
    assert "the disk is full" in capsys.readouterr().err
    assert seen == [{".earlier", ".lock", "package", "progress.json", "report.json", "report.html"}]
    assert _contents(out) == before


@pytest.mark.parametrize("more", [["--backbone", "mobilenet"], ["--weights", "/nowhere/w.onnx"], ["--size", "1"]])
def test_a_wrong_argument_costs_no_earlier_result(images: Path, tmp_path: Path, more: list[str]) -> None:
    out = tmp_path / "out"
    assert train(images, out) == 0
    before = _contents(out)
    assert train(images, out, *more) == 2
    assert _contents(out) == before


def test_a_second_training_replaces_the_first_whole(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(images, out) == 0
    first = _contents(out)
    assert train(images, out, "--seed", "3") == 0
    second = _contents(out)
    assert second.keys() == first.keys()
    for name in ("evaluation.json", "report.json", "package/manifest.json"):
        assert second[name] != first[name]


@pytest.mark.parametrize("name", ["package/notes.txt", "report.html", "evaluation.json", "progress.json"])
def test_files_that_no_training_left_are_not_replaced(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert train(images, tmp_path / "out") == 2
    assert f"holds {name.partition('/')[0]}, which no training or import left there" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_labels_that_name_no_file_are_refused_and_many_that_miss_are_counted(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("path,judgement\nelsewhere/1.png,good\nelsewhere/2.png,good\n")
    assert train(images, tmp_path / "out", "--labels", str(labels)) == 2
    assert "--labels: none of 2 lines names a file that is there" in capsys.readouterr().err
    labels.write_text(labels.read_text() + "test/good/000.png,good\n")
    assert train(images, tmp_path / "out", "--labels", str(labels)) == 0
    assert "labels: 2 of 3 lines name files that are not there" in capsys.readouterr().out


def test_a_teacher_that_is_no_onnx_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = tmp_path / "teacher.onnx"
    teacher.write_text("no graph")
    assert main(["--quiet", "distil", "--teacher", str(teacher), "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "cannot be opened as ONNX" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--fit-budget-ms", "100"]])
def test_too_few_pictures_are_told_before_any_is_opened_or_a_trunk_measured(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise AssertionError("it was begun")

    for name in ("run_job", "run_within"):
        monkeypatch.setattr(f"models.training.commands.{name}", refuse)
    for path in sorted((images / "train/good").iterdir())[:11]:
        path.unlink()
    assert train(images, tmp_path / "out", *more) == 2
    assert "sound training parts: expected at least 10, got 3; add 7 more" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["-1", "0", "nan", "inf"])
def test_no_time_or_one_without_an_end_to_distil_in_is_refused(
    minutes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--teacher", str(tmp_path / "teacher.onnx"), "--out", str(tmp_path / "x.safetensors")]
    assert main(["--quiet", "distil", *asked, "--minutes", minutes]) == 2
    assert "--minutes: expected more than 0, got" in capsys.readouterr().err


def test_two_trainings_do_not_write_into_one_folder(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with alone_in(out):
        assert train(images, out) == 2
    assert "another training writes its results there" in capsys.readouterr().err
    assert train(images, out) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--threads", "9999999"], "argument --threads: expected 1 … 256, got '9999999'"),
        (["--seed", "-1"], "argument --seed: expected a whole number, 0 or more, got '-1'"),
        (["--half", "5"], "argument --half: invalid choice: 5"),
    ],
)
def test_numbers_out_of_bounds_are_refused_before_anything_is_read(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    measuring = ["evaluate", "--package", str(tmp_path / "nowhere"), "--images", str(images), *more]
    for command in (["train", "--images", str(images), *PRODUCT, "--out", str(tmp_path / "out"), *more], measuring):
        with pytest.raises(SystemExit) as refused:
            main(command)
        assert refused.value.code == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_and_the_job_bound_threads_and_workers_alike() -> None:
    assert (_MOST_THREADS, _MOST_WORKERS) == (MOST_THREADS, MOST_WORKERS)


@pytest.mark.parametrize("count", ["0", "13", "two"])
def test_workers_out_of_bounds_are_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["train", "--images", str(images), *PRODUCT, "--out", str(tmp_path / "out"), "--workers", count])
    assert refused.value.code == 2
    assert f"argument --workers: expected 1 … 12, got '{count}'" in capsys.readouterr().err


def test_a_folder_of_another_layout_says_what_was_expected_what_is_there_and_which_layout_fits(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--images", str(images), "--layout", "folder", *PRODUCT, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "layout folder expects good/ and <defect>/" in told
    assert "holds test/, train/; it looks like --layout mvtec" in told


def _contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder by name, but for the progress of the last run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "progress.json"
    }


@pytest.mark.parametrize(("error", "code"), [(CancelledError(), 143), (OSError(errno.ENOSPC, "no space left"), 0)])
def test_what_has_an_evaluation_stays_whole_whatever_comes_after(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        if path.name == "progress.json" and (path.parent / "evaluation.json").exists():
            raise error
        write_whole(path, content)

    monkeypatch.setattr("models.training.progress.write_whole", refuse)
    out = tmp_path / "out"
    assert train(images, out) == code
    assert {"package", "evaluation.json", "report.json", "report.html"} <= {path.name for path in out.iterdir()}


def test_page_that_cannot_be_drawn_costs_the_page_only(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(*_arguments: object) -> str:
        raise ValueError("no pencil")

    monkeypatch.setattr("models.training.commands.render_page", crash)
    assert train(images, tmp_path / "out") == 0
    assert (tmp_path / "out" / EVALUATION_NAME).is_file()
    assert not (tmp_path / "out/report.html").exists()
    assert "report.html" not in capsys.readouterr().out


def test_ctrl_c_leaves_nothing_half_written(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "models", "train", "--images", str(images), "--layout", "mvtec", *PRODUCT]
    with subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True, env=os.environ) as child:
        while child.poll() is None and not (out / "progress.json").exists():
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate()
    assert child.returncode == 143, told
    assert "stopped; nothing half-written is left" in told
    assert {entry.name for entry in out.iterdir()} == {"progress.json"}


def test_second_ctrl_c_while_the_process_winds_down_changes_nothing(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "models",
        "--quiet",
        "train",
        "--images",
        str(images),
        "--layout",
        "mvtec",
        *PRODUCT,
    ]
    with subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True, env=os.environ) as child:
        while child.poll() is None and not (out / "progress.json").exists():
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        while (line := child.stderr.readline()) and "stopped; nothing half-written" not in line:
            pass
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        rest = child.stderr.read()
    assert (child.returncode, rest) == (143, "")


def test_forms_that_nobody_knows_are_refused_before_anything_is_read(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(images, tmp_path / "out", "--variants", "int8-u8s8,int4") == 2
    told = capsys.readouterr().err
    assert "--variants: expected all, or some of int8-u8s8, int8-s8s8, fp16, fp32" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out/package").exists()


def test_a_training_makes_the_forms_it_is_asked_for_and_always_fp32(images: Path, tmp_path: Path) -> None:
    assert train(images, tmp_path / "out", "--variants", "fp16") == 0
    manifest = json.loads((tmp_path / "out/package/manifest.json").read_text())
    assert [each["variant"] for each in manifest["variants"]] == ["fp32", "fp16"]


def test_resume_and_several_trainings_are_refused_together(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(images, tmp_path / "out", "--resume", "--fit-budget-ms", "50") == 2
    assert "--fit-budget-ms makes several" in capsys.readouterr().err
    assert not (tmp_path / "out" / "package").exists()


def test_a_package_that_cannot_be_moved_away_costs_nothing_of_the_earlier_training(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, act = tmp_path / "out", os.replace
    assert train(images, out) == 0
    before = _contents(out)

    def refuse(source: Path, target: Path) -> None:
        if Path(source) == out / "package":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(source))
        act(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    assert train(images, out, "--seed", "3") == 2
    assert f"{out}/package: cannot be replaced (Operation not permitted); allow it" in capsys.readouterr().err
    assert _contents(out) == before


def test_a_job_replaces_nothing_that_no_training_left(tmp_path: Path, settings: Settings) -> None:
    pictures = write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN)
    job = make_job(tmp_path, pictures)
    mine = Path(job.output_dir) / "package/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="holds package, which no training or import left there"):
        run_job(job, settings, SystemClock())
    assert mine.read_text() == "mine"
    assert [each.name for each in mine.parent.parent.iterdir()] == ["package"]
