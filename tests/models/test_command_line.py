# SPDX-License-Identifier: Apache-2.0
"""What every command of `sightline-models` does alike: paths that may not be used, an empty one, nobody who listens."""

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.vocabulary import PartUse, Variant
from models.__main__ import _parser, _path, main
from models.errors import InputError
from models.graphs.trunks import load_trunk
from models.reporting.progress_bar import ProgressBar
from models.settings import Settings
from tests.fakes.clock import FakeClock
from tests.models.conftest import make_job, write_parts
from tests.models.made_package import brightness_graph, made_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return made_package(tmp_path / "made/package", {Variant.FP32: brightness_graph()})


def _commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (each.choices for each in _parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(choices)


def _paths() -> Iterator[tuple[str, str]]:
    """Each argument of each command that names a file or a folder."""
    named = {"job", "images", "labels", "weights", "out", "package", "file", "json", "a", "b", "teacher", "start_from"}
    for name, command in _commands().items():
        yield from ((name, action.dest) for action in command._actions if action.dest in named)


@pytest.mark.parametrize(("name", "dest"), sorted(_paths()))
def test_an_empty_path_is_refused_and_never_the_current_folder(
    name: str, dest: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options: list[str] = []
    for action in _commands()[name]._actions:
        if action.required or action.dest == dest:
            value = "" if action.dest == dest else "x"
            options += [action.option_strings[0], value] if action.option_strings else [value]
    with pytest.raises(SystemExit) as refused:
        main([name, *options])
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert "expected a path, got an empty one" in told
    assert dest.replace("_", "-") in told.splitlines()[-1].lower()
    assert list(tmp_path.iterdir()) == []


def test_the_paths_that_are_tried_are_all_there_are() -> None:
    found = {
        (name, action.dest)
        for name, command in _commands().items()
        for action in command._actions
        if action.type in (Path, _path)
    }
    assert found == set(_paths())


def test_a_job_without_a_place_for_its_results_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = write_parts(tmp_path / "set", np.random.default_rng(0), 2, is_defective=False, use=PartUse.TRAIN)
    (tmp_path / "job.json").write_text(make_job(tmp_path, pictures, output_dir="").model_dump_json())
    assert main(["--quiet", "run-job", "job.json"]) == 2
    assert "output_dir: expected a path, got an empty one" in capsys.readouterr().err
    assert {each.name for each in tmp_path.iterdir()} == {"job.json", "set"}


def _barred(monkeypatch: pytest.MonkeyPatch, barred: Path) -> None:
    """Nobody may look below this folder; a test that runs as root sees nothing of real permissions."""

    def looking(act: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Path, *given: Any, **named: Any) -> Any:
            if path != barred and path.is_relative_to(barred):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return act(path, *given, **named)

        return look

    for name in ("is_file", "is_dir", "exists", "iterdir", "read_bytes"):
        monkeypatch.setattr(Path, name, looking(vars(Path)[name]))


@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "PACKAGE"],
        ["export", "--package", "PACKAGE", "--variant", "fp32", "--out", "OUT/x.onnx"],
        ["evaluate", "--package", "PACKAGE", "--images", "OUT"],
        ["compare", "PACKAGE", "PACKAGE", "--images", "OUT"],
        ["quantize", "--package", "PACKAGE", "--images", "OUT", "--out", "OUT/new"],
    ],
)
def test_a_package_that_may_not_be_read_is_told_in_one_line(
    command: list[str], package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "out").mkdir()
    asked = [each.replace("PACKAGE", str(package)).replace("OUT", str(tmp_path / "out")) for each in command]
    for barred in (package, package.parent):
        with monkeypatch.context() as patched:
            _barred(patched, barred)
            assert main(["--quiet", *asked]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"sightline-models: package {package}: ")
        assert "cannot be read (Permission denied); allow it" in told
        assert told.count("\n") == 1


def test_a_folder_of_pictures_that_may_not_be_looked_at_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "shut/set"
    images.mkdir(parents=True)
    _barred(monkeypatch, tmp_path / "shut")
    asked = ["train", "--images", str(images), "--product", "plate", "--out", str(tmp_path / "out")]
    assert main(["--quiet", *asked]) == 2
    told = capsys.readouterr().err
    assert f"{images}: Permission denied; allow it" in told
    assert told.count("\n") == 1


_ALL_SAY = [
    ["inspect", "PACKAGE"], ["inspect", "PACKAGE", "--json", "-"], ["--help"], ["train", "--help"],
    ["export", "--package", "PACKAGE", "--variant", "fp32", "--out", "OUT/x.onnx"],
]  # fmt: skip


def _run(command: list[str], package: Path, stdout: int) -> "subprocess.CompletedProcess[str]":
    asked = [each.replace("PACKAGE", str(package)).replace("OUT", str(package.parent)) for each in command]
    return subprocess.run(
        [sys.executable, "-m", "models", "--quiet", *asked], stdout=stdout, stderr=subprocess.PIPE, text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", _ALL_SAY)
@pytest.mark.parametrize("is_closed", [False, True])
def test_nobody_who_takes_what_is_said_costs_one_line_and_no_traceback(
    command: list[str], package: Path, *, is_closed: bool
) -> None:
    if is_closed:
        reading, stdout = os.pipe()
        os.close(reading)
    else:
        stdout = os.open("/dev/full", os.O_WRONLY)
    try:
        ended = _run(command, package, stdout)
    finally:
        os.close(stdout)
    if command[-1] == "--help":
        assert (ended.returncode, ended.stderr) == (0, "")
        return
    why = "Broken pipe" if is_closed else "No space left on device"
    assert ended.stderr == (
        f"sightline-models: stdout: cannot be written ({why}); what went into files is whole, but not all was told\n"
    )
    assert ended.returncode == 2
    if command[0] == "export":
        assert (package.parent / "x.onnx").is_file()


def test_a_bar_that_nobody_can_see_any_more_costs_no_training() -> None:
    class Gone:
        def isatty(self) -> bool:
            return True

        def write(self, _text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    class Clock(FakeClock):
        def monotonic_s(self) -> float:
            return self.monotonic()

    bar = ProgressBar(Clock(), Gone())  # type: ignore[arg-type]  # a stream by what it can do
    bar("fitting", 0.5)
    bar("fitting", 0.6)
    bar.close()


@pytest.mark.parametrize("content", [[1, 2], torch.nn.Conv2d(1, 1, 1), torch.zeros(3)])
def test_a_weights_file_that_holds_no_weights_is_told_in_our_own_line(content: object, tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_v2.pth"
    torch.save(content, path)
    with pytest.raises(InputError) as refused:
        load_trunk("mobilenet_v2", path, "file", Settings())
    told = str(refused.value)
    assert "\n" not in told
    assert "state_dict" in told
    assert "weights_only" not in told
    assert len(told) < 250


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.onnx"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04broken"])
def test_a_weights_file_that_is_none_is_told_in_one_line(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    folder = tmp_path / "set/good"
    write_parts(folder, np.random.default_rng(0), 24, is_defective=False, use=PartUse.TRAIN)
    asked = ["train", "--images", str(folder.parent), "--product", "plate", "--backbone", "mobilenet_v2"]
    assert main(["--quiet", *asked, "--weights", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"sightline-models: weights {name}: ")
    assert told.count("\n") == 1
    assert len(told) < 250
