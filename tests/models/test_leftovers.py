# SPDX-License-Identifier: Apache-2.0
"""What stands in a folder of results is swept or replaced only where one of our runs left it; the rest is refused."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contracts.jobs import PROGRESS_NAME, RESUME_FOLDER, TrainingJob
from contracts.vocabulary import DetectorKind, PartUse
from models.clock import SystemClock
from models.errors import CancelledError, InputError
from models.files import write_whole
from models.settings import Settings
from models.staging import begin_staging, end_staging, is_strange
from models.training.checkpoints import Checkpoints
from models.training.job import run_job
from models.training.results import check_out
from tests.models.conftest import Trained, make_job, write_parts

RECORDS = [PROGRESS_NAME, "evaluation.json", "report.json", "report.html"]


@pytest.fixture(name="job")
def _job(tmp_path: Path) -> TrainingJob:
    return make_job(
        tmp_path, write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN)
    )


@pytest.fixture(name="results")
def _results(tmp_path: Path, trained: Callable[[DetectorKind], Trained]) -> Path:
    """A copy of whole results."""
    return Path(shutil.copytree(trained(DetectorKind.MEMORY_BANK).job.output_dir, tmp_path / "results"))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder by name, a folder without bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("name", [".package.part", ".fit-budget.part"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_staging_folder_of_somebody_else_is_refused_and_stays(
    settings: Settings, job: TrainingJob, name: str, is_folder: bool
) -> None:
    out = Path(job.output_dir)
    out.mkdir()
    if is_folder:
        (out / name / "letters").mkdir(parents=True)
        (out / name / "letters/mine.txt").write_text("mine")
    else:
        (out / name).write_text("mine")
    before = contents(out)
    with pytest.raises(InputError, match=f"holds {name}, which no training or import left there"):
        check_out(out)
    with pytest.raises(InputError, match=f"holds {name}, which no training or import left there"):
        run_job(job, settings, SystemClock())
    assert contents(out) == before


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_what_somebody_else_keeps_where_a_record_comes_about_is_refused_and_stays(
    tmp_path: Path, settings: Settings, job: TrainingJob, name: str, kind: str
) -> None:
    out, mine = Path(job.output_dir), tmp_path / "mine.txt"
    mine.write_text("mine")
    out.mkdir()
    place = out / f".{name}.part"
    if kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to(mine)
    else:
        place.write_text("mine")
    with pytest.raises(InputError, match=f"holds .{name}.part, which no training or import left there"):
        run_job(job, settings, SystemClock())
    assert [each.name for each in out.iterdir()] == [place.name]
    assert mine.read_text() == "mine"


def test_a_link_where_a_file_comes_about_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".told.json.part").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="holds what no run left there"):
        write_whole(tmp_path / "told.json", b"told")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_link_to_a_folder_of_somebody_else_is_no_staging_folder(tmp_path: Path) -> None:
    begin_staging(tmp_path / "ours")
    (tmp_path / ".package.part").symlink_to(tmp_path / "ours")
    assert is_strange(tmp_path / ".package.part")
    end_staging(tmp_path / ".package.part")
    assert (tmp_path / "ours").is_dir()


def test_what_a_killed_run_left_is_swept_and_the_training_comes_about(settings: Settings, job: TrainingJob) -> None:
    out = Path(job.output_dir)
    for name in (".package.part", ".fit-budget.part"):
        begin_staging(out / name)
        (out / name / "package").mkdir()
        (out / name / "package/fp32.onnx").write_bytes(b"half")
    for name in RECORDS:
        (out / f".{name}.part").write_bytes(b"")
    run_job(job, settings, SystemClock())
    assert {".package.part", f".{PROGRESS_NAME}.part"}.isdisjoint(each.name for each in out.iterdir())
    assert "manifest.json" in {each.name for each in (out / "package").iterdir()}
    assert ".sightline-models" not in {each.name for each in (out / "package").iterdir()}


def test_the_mark_goes_last_so_that_a_kill_amid_sweeping_leaves_what_is_known_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".package.part"
    begin_staging(folder)
    (folder / "zz").write_bytes(b"half")
    unlink = Path.unlink

    def killed_after_one(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        raise CancelledError

    monkeypatch.setattr(Path, "unlink", killed_after_one)
    with pytest.raises(CancelledError):
        end_staging(folder)
    assert not (folder / "zz").exists()
    assert not is_strange(folder)


@pytest.mark.parametrize(
    "left", [b"", b"\0" * 200, b'{"schema', b'{"schema_version":"1.0","training_id":"t-1","st', None]
)
def test_a_damaged_record_of_ours_is_said_and_costs_no_result(
    results: Path, settings: Settings, job: TrainingJob, caplog: pytest.LogCaptureFixture, left: bytes | None
) -> None:
    progress = results / PROGRESS_NAME
    progress.write_bytes(progress.read_bytes()[:-9] if left is None else left)
    before = contents(results)
    check_out(results)
    assert contents(results) == before
    wrong = job.model_copy(update={"output_dir": str(results), "backbone": "resnet18"})
    with caplog.at_level(logging.WARNING), pytest.raises(InputError):
        run_job(wrong, settings, SystemClock())
    assert "progress.json is damaged" in caplog.text
    after = contents(results)
    assert {**after, PROGRESS_NAME: b""} == {**before, PROGRESS_NAME: b""}
    report = run_job(job.model_copy(update={"output_dir": str(results)}), settings, SystemClock())
    assert report.package_id in (results / "evaluation.json").read_text()


def test_an_empty_record_beside_files_of_somebody_else_makes_them_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / PROGRESS_NAME).write_bytes(b"")
    check_out(tmp_path)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"holds report\.html, which"):
        check_out(tmp_path)


@pytest.mark.parametrize("text", ['{"mine": 1}', '{"mine": ', '{"schema_version":"1.0","mine":'])
def test_a_record_of_somebody_else_is_not_taken_for_a_damaged_one(results: Path, text: str) -> None:
    (results / PROGRESS_NAME).write_text(text)
    with pytest.raises(InputError, match=r"holds progress\.json, which"):
        check_out(results)


def test_steps_whose_owner_was_not_yet_signed_are_a_killed_runs(tmp_path: Path) -> None:
    (tmp_path / RESUME_FOLDER).mkdir()
    (tmp_path / RESUME_FOLDER / ".training.sha256.part").write_bytes(b"")
    assert Checkpoints(tmp_path, "t", []).content("step", lambda: b"made") == b"made"
