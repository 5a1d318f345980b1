# SPDX-License-Identifier: Apache-2.0
"""A request to stop stays one, whatever becomes of it on its way."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from contracts.codec import decode, encode
from contracts.jobs import PROGRESS_NAME, TrainingProgress
from contracts.vocabulary import PartUse, TrainingState
from models.__main__ import main
from models.clock import SystemClock
from models.errors import CancelledError, ask_to_stop, forget_requests, was_asked_to_stop
from models.training.progress import Progress
from tests.models.conftest import make_job, write_parts


def test_an_error_that_is_its_own_cause_is_no_stop() -> None:
    error = OSError("of its own")
    error.__cause__ = error
    assert not was_asked_to_stop(error)


def test_stop_wrapped_by_an_extension_module_is_still_a_stop() -> None:
    wrapped = SystemError("returned a result with an exception set")
    wrapped.__cause__ = CancelledError()
    assert was_asked_to_stop(wrapped)
    assert not was_asked_to_stop(SystemError("of its own"))


def test_stop_that_a_native_callback_swallows_is_raised_again_at_the_next_step(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "train-plate", SystemClock())
    progress.enter("reading pictures", 0.5)
    progress.within(0.1)
    try:
        with suppress(CancelledError):
            ask_to_stop()
        with pytest.raises(CancelledError):
            progress.within(0.2)
        with pytest.raises(CancelledError):
            progress.enter("learning", 1.0)
    finally:
        forget_requests()


def test_stop_that_comes_out_as_another_error_without_a_cause_is_still_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serialize(*_arguments: object) -> str:
        with suppress(CancelledError):
            os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("error serializing to JSON: CancelledError")

    monkeypatch.setattr("models.training.job._digest_of_training", serialize)
    job = make_job(tmp_path, write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN))
    (tmp_path / "job.json").write_bytes(encode(job))
    assert main(["run-job", str(tmp_path / "job.json")]) == 143
    assert "stopped; nothing half-written is left" in capsys.readouterr().err
    told = decode(TrainingProgress, (Path(job.output_dir) / PROGRESS_NAME).read_bytes())
    assert told.state is TrainingState.CANCELLED
    assert not was_asked_to_stop(ValueError("of the next command"))


# Presses Ctrl-C when a module is imported for the first time, then begins as the installed command or `-m models` do.
_PRESSED = """
import os, runpy, signal, sys

module, request, entry = sys.argv[1:4]
sys.argv[:4] = ["sightline-models"]

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), getattr(signal, request))

sys.meta_path.insert(0, Press())
if entry == "module":
    runpy.run_module("models", run_name="__main__", alter_sys=True)
else:
    from models.starting import run
    sys.exit(run())
"""


@pytest.mark.parametrize("entry", ["module", "command"])
@pytest.mark.parametrize("module", ["argparse", "models.errors", "numpy"])
@pytest.mark.parametrize("request_", ["SIGINT", "SIGTERM"])
def test_a_stop_while_modules_are_imported_is_told_in_our_own_line(
    tmp_path: Path, entry: str, module: str, request_: str
) -> None:
    asked = ["--quiet", "train", "--images", str(tmp_path), "--product", "plate", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", _PRESSED, module, request_, entry, *asked],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == "sightline-models: stopped; nothing half-written is left\n"
    assert done.returncode == 143
    assert not (tmp_path / "out").exists()
