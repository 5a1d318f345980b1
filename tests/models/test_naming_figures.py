# SPDX-License-Identifier: Apache-2.0
"""Truth against name: what is counted, what is not, and where it is shown."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.codec import encode
from contracts.vocabulary import DetectorKind, Judgement, PartUse, Variant, Verdict
from models.__main__ import main
from models.measuring.evaluating import Asked, evaluate_package
from models.measuring.holdout import Folder, read_held_out
from models.measuring.naming_figures import named_figures, naming_table
from models.packages.reading import open_package
from models.reporting.page import render_page
from models.settings import Settings
from tests.models.conftest import CLASSES, Trained, trained_on

TRUTHS = ["pit", "pit", "pit", "crack", "crack", "dent", None, "pit"]
NAMED = ["pit", "pit", "crack", "crack", None, "pit", "crack", "crack"]
GROUPS = ["a", "a", "b", "c", "c", "d", "e", "b"]


def test_names_are_counted_against_the_truth_of_pictures_that_do_not_pass() -> None:
    told = named_figures(TRUTHS, NAMED, GROUPS, ["crack", "pit"])
    assert told is not None
    pit, crack, dent = (told["by_class"][name] for name in ("pit", "crack", "dent"))
    assert pit["named"] == {"crack": 2, "pit": 2}
    assert (pit["right"]["count"], pit["right"]["of"], pit["unnamed"]) == (2, 4, 0)
    assert (pit["right_by_part"]["count"], pit["right_by_part"]["of"]) == (1, 2)
    assert (crack["right"]["count"], crack["right"]["of"], crack["unnamed"]) == (1, 1, 1)
    # A class that the package does not know is never right, and counts.
    assert (dent["is_known"], dent["named"], dent["right"]["count"]) == (False, {"crack": 0, "pit": 1}, 0)
    assert (told["right"]["count"], told["right"]["of"]) == (3, 6)
    assert (told["right_by_part"]["count"], told["right_by_part"]["of"]) == (2, 4)
    assert (told["always_the_same"]["name"], told["always_the_same"]["count"]) == ("pit", 4)
    text = "\n".join(naming_table(told))
    assert "dent (not known)" in text
    assert "50.0 %" in text


@pytest.mark.parametrize(
    ("truths", "names"), [([None, "pit"], ["pit", None]), (["pit"], [None]), ([None], ["pit"]), ([], [])]
)
def test_without_a_picture_that_has_truth_and_name_nothing_is_known(
    truths: list[str | None], names: list[str | None]
) -> None:
    assert named_figures(truths, names, ["a"] * len(truths), ["pit"]) is None


def test_a_truth_that_no_constant_answer_knows_is_told_without_one() -> None:
    told = named_figures(["dent"], ["pit"], ["a"], ["pit"])
    assert told is not None
    assert told["always_the_same"] == {"name": None, "count": 0, "of": 1, "rate": 0.0, "low": 0.0, "high": 0.975}


def write_folder(done: Trained, folder: Path) -> Path:
    """The pictures of a training in the mvtec layout."""
    for image in done.job.images:
        side = "train" if image.use is PartUse.TRAIN else "test"
        path = folder / side / (image.defect_class or "good") / Path(image.path).name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image.path, path)
    return folder


def test_evaluate_counts_what_the_training_said_of_each_picture(
    named: Callable[[DetectorKind], Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = named(DetectorKind.MIXED)
    images = write_folder(done, tmp_path / "set")
    where = ["--package", str(done.package), "--images", str(images), "--layout", "mvtec"]
    assert main(["--quiet", "evaluate", *where, "--json", str(tmp_path / "figures.json")]) == 0
    told = json.loads((tmp_path / "figures.json").read_text())["variants"][done.report.candidate_variant]
    for name in CLASSES:
        said = [each.candidate_class for each in done.report.holdout if each.defect_class == name]
        got = told["class_names"]["by_class"][name]
        assert got["named"] == {each: said.count(each) for each in CLASSES}
        assert got["unnamed"] == said.count(None)
    assert main(["--quiet", "evaluate", *where]) == 0
    assert f"{done.report.candidate_variant} names of defective pictures that do not pass" in capsys.readouterr().out
    assert main(["inspect", str(done.package)]) == 0
    assert "defect classes: scratch, speck" in capsys.readouterr().out


def test_what_passes_is_named_by_no_station_and_counted_by_no_evaluation(
    named: Callable[[DetectorKind], Trained], settings: Settings, tmp_path: Path
) -> None:
    done = named(DetectorKind.MIXED)
    package = Path(shutil.copytree(done.package, tmp_path / "package"))
    manifest = open_package(package).manifest
    limits = manifest.limits.model_copy(update={"ok_limit": 1e9, "ng_limit": 1e9})
    (package / "manifest.json").write_bytes(encode(manifest.model_copy(update={"limits": limits})))
    held_out = read_held_out(Folder(write_folder(done, tmp_path / "set"), "mvtec"), settings)
    told = evaluate_package(open_package(package), held_out, Asked([Variant.FP32]))
    assert told["variants"]["fp32"]["class_names"] is None


def test_the_page_shows_the_names_and_says_nothing_of_them_where_there_are_none(
    named: Callable[[DetectorKind], Trained], settings: Settings, tmp_path: Path
) -> None:
    done = named(DetectorKind.MIXED)
    page = render_page(done.job, done.report, open_package(done.package), settings)
    assert "<h2>Names of defects</h2>" in page
    right = sum(each.candidate_class == each.defect_class for each in done.report.holdout if each.candidate_class)
    of = sum(
        each.judgement is Judgement.DEFECTIVE and each.candidate_verdict is not Verdict.OK
        for each in done.report.holdout
    )
    assert f"{right} of {of} (" in page
    bank = trained_on(tmp_path, {"scratch": 4}, DetectorKind.MEMORY_BANK)
    assert "Names of defects" not in render_page(bank.job, bank.report, open_package(bank.package), settings)
