# SPDX-License-Identifier: Apache-2.0
"""A disk that is full or barred: a person is told where and how much is free, and nothing half-written is left."""

import errno
from pathlib import Path

import numpy as np
import pytest

from contracts.codec import decode
from contracts.jobs import TrainingProgress
from contracts.vocabulary import PartUse, TrainingState
from models.clock import SystemClock
from models.errors import InputError
from models.files import as_unwritable, write_whole
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import make_job, write_parts


class Disk:
    """Lets half of a file through and then has no room, from the first file with this ending on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
        self.ending, self.is_full = ending, False
        self._write = Path.write_bytes

        def write(path: Path, content: bytes) -> int:
            return self.write(path, content)

        monkeypatch.setattr(Path, "write_bytes", write)

    def write(self, path: Path, content: bytes) -> int:
        self.is_full = self.is_full or path.name.endswith(self.ending)
        if not self.is_full:
            return self._write(path, content)
        self._write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "no space left")


@pytest.mark.parametrize("ending", ["fp32.onnx", "manifest.json", "evaluation.json.part"])
def test_full_disk_leaves_nothing_half_written_and_says_where_and_how_much(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN)
    job = make_job(tmp_path, images)
    disk = Disk(monkeypatch, ending)
    said = rf"{job.output_dir}: the disk is full, .* do not fit into the [0-9.]+ MB free of [0-9.]+ MB; free some"
    with pytest.raises(InputError, match=said):
        run_job(job, settings, SystemClock())
    assert disk.is_full
    assert {path.name for path in Path(job.output_dir).iterdir()} == {"progress.json"}


def test_failure_is_told_in_the_progress_once_the_sweep_made_room(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN)
    job = make_job(tmp_path, images)

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("models.packages.writing.encode", refuse)
    with pytest.raises(InputError, match="the disk is full"):
        run_job(job, settings, SystemClock())
    told = decode(TrainingProgress, (Path(job.output_dir) / "progress.json").read_bytes())
    assert told.state is TrainingState.FAILED
    assert told.error is not None
    assert "the disk is full" in told.error


def test_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "x", b"before")
    Disk(monkeypatch, ".x.part")
    with pytest.raises(OSError, match="no space left"):
        write_whole(tmp_path / "x", b"after it")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"before"


def test_barred_folder_is_the_users_error_and_a_crash_stays_a_crash(tmp_path: Path) -> None:
    barred = as_unwritable(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "a/b")), tmp_path)
    assert barred is not None
    assert f"{tmp_path / 'a'}: cannot be written (Permission denied); allow it" in str(barred)
    elsewhere = PermissionError(errno.EACCES, "Permission denied", "/weights/a.onnx")
    assert as_unwritable(elsewhere, tmp_path) is None
    assert as_unwritable(OSError(errno.EIO, "input/output error"), tmp_path) is None
    assert as_unwritable(ValueError("x"), tmp_path) is None
