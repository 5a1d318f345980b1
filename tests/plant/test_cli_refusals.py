# SPDX-License-Identifier: Apache-2.0
"""What `sightline` refuses before anything starts, and what it leaves behind when a run fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from plant.cli import main
from plant.errors import ChildError, UsageError

Play = Callable[[Any], int]


def tiles(root: Path, sound: int = 15) -> Path:
    """The smallest folder that layout magnetic-tile takes for a run; two of its pictures are missing."""
    names = [f"MT_Free/Imgs/{number}.jpg" for number in range(sound + 4)] + ["MT_Break/Imgs/0.jpg"]
    for name in [*names[: sound + 2], names[-1]]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((24, 40), 90, np.uint8))
    split = {
        "train_good": names[:sound],
        "test_good": names[sound:-1],
        "test_defect": {"break": names[-1:]},
        "group": {name: number for number, name in enumerate(names)},
    }
    (root / "split.json").write_text(json.dumps(split))
    return root


@pytest.fixture(name="demo")
def _demo(monkeypatch: pytest.MonkeyPatch) -> Callable[[Play], list[Any]]:
    """Put another play in the place of the demo; returns the options of each one begun."""

    def stand_in(play: Play) -> list[Any]:
        begun: list[Any] = []

        class StandIn:
            def __init__(self, options: Any, _progress: Any) -> None:
                self._options = options
                begun.append(options)

            def run(self) -> int:
                return play(self._options)

        monkeypatch.setattr("plant.run.demo.Demo", StandIn)
        return begun

    return stand_in


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--source", "tiles", "--layout", "magnetic-tile", "--new-defect", "break", "--scenario", "lamp-fades"],
            "new defect: scenario lamp-fades brings none; use --scenario new-defect",
        ),
        (
            ["--scenario", "latin.toml"],
            "expected text in UTF-8, got another byte at position 9; save the file as UTF-8",
        ),
        (["--scenario", "tiles"], "expected a .toml file or one of"),
        (["--seed", "-1"], "--seed -1: expected 0 or more\n"),
        (["--seed", "9999999999"], "--seed 9999999999: expected 2147483648 or less\n"),
        (["--parts", "-3"], "--parts -3: expected 0 or more\n"),
        (["--report", "tiles"], "--report: expected a file that can be written, got tiles (a folder)"),
        (["--time-limit", "59"], "--time-limit: expected 60 seconds or more"),
        (["--time-limit", "nan"], "--time-limit: expected 60 seconds or more"),
        (
            ["--source", "tiles/MT_Free", "--layout", "folder"],
            "no sound pictures to commission with; layout folder expects them in good/",
        ),
        (
            ["--source", "few", "--layout", "magnetic-tile"],
            "a first training needs at least 15 sound pictures, got 14",
        ),
        (
            ["--source", "tiles", "--layout", "magnetic-tile", "--new-defect", "break"],
            "expected pictures of break to judge of two parts at least",
        ),
        (
            ["--source", "lone", "--layout", "magnetic-tile"],
            "expected sound pictures to judge of two parts at least",
        ),
        (
            ["--source", "wrong", "--layout", "magnetic-tile"],
            "missing or of another shape: group (the first is group.x",
        ),
    ],
)
def test_a_demo_that_cannot_work_is_refused_before_anything_starts(
    *,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    demo: Callable[[Play], list[Any]],
) -> None:
    monkeypatch.chdir(tmp_path)
    tiles(tmp_path / "tiles")
    tiles(tmp_path / "few", sound=14)
    (tmp_path / "latin.toml").write_bytes('title = "für"'.encode("latin-1").replace(b'"f', b'"'))
    (tiles(tmp_path / "lone") / "MT_Free/Imgs/16.jpg").unlink()
    (tmp_path / "wrong").mkdir()
    wrong = {"train_good": [], "test_good": [], "test_defect": {}, "group": {"x": "seven"}}
    (tmp_path / "wrong/split.json").write_text(json.dumps(wrong))
    begun = demo(lambda _options: 0)
    assert main(["demo", "--broker", "amqtt", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "pydantic" not in said
    assert begun == []


@pytest.mark.parametrize("data", ["file", "file/below"])
@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_data_folder_that_cannot_be_made_is_refused(
    command: str, data: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    assert main([command, "--broker", "amqtt", "--data", str(tmp_path / data)]) == 2
    said = capsys.readouterr().err
    assert f"data folder {tmp_path / data}: expected a folder that can be made and written" in said
    assert "give another folder with --data" in said
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--headless", "--report"],
        ["demo", "--headless", "--data"],
        ["demo", "--headless", "--layout", "mvtec", "--source"],
        ["up", "--no-dashboard", "--data"],
        ["status", "--data"],
    ],
)
def test_a_path_that_the_system_refuses_is_named_with_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    # Root may open everything; a name that is too long is refused on the same road.
    assert main([*arguments, str(tmp_path / ("x" * 300) / "below")]) == UsageError.exit_code
    said = capsys.readouterr().err
    assert "File name too long; correct its rights or give another path" in said
    assert "Traceback" not in said


def test_looking_whether_the_report_can_be_written_changes_nothing(
    tmp_path: Path, demo: Callable[[Play], list[Any]]
) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("kept")
    begun = demo(lambda options: int(options.report_path == new and new.exists()))
    for path in (new, old):
        assert main(["demo", "--broker", "amqtt", "--report", str(path)]) == 0
    assert [options.report_path for options in begun] == [new, old]
    assert (new.exists(), old.read_text()) == (False, "kept")
    link = tmp_path / "link.json"
    link.symlink_to(new)
    assert main(["demo", "--broker", "amqtt", "--report", str(link)]) == 0
    assert (link.is_symlink(), new.exists()) == (True, False)


def test_pictures_that_a_replay_leaves_out_are_told_with_their_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, demo: Callable[[Play], list[Any]]
) -> None:
    demo(lambda _options: 0)
    assert main(["demo", "--broker", "amqtt", "--source", str(tiles(tmp_path)), "--layout", "magnetic-tile"]) == 0
    assert "2 picture(s) left out: file is missing (2)\n" in capsys.readouterr().err


def _raise(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("play", "code", "is_kept"),
    [
        (lambda: 0, 0, False),
        (lambda: 1, 1, True),
        (lambda: _raise(ChildError("central died, see central.log")), 3, True),
        (lambda: _raise(UsageError("port 1 cannot be used")), 2, False),
        (lambda: _raise(KeyboardInterrupt()), 130, False),
    ],
)
def test_the_temporary_folder_stays_when_the_run_failed_and_only_then(
    *,
    play: Callable[[], int],
    code: int,
    is_kept: bool,
    capsys: pytest.CaptureFixture[str],
    demo: Callable[[Play], list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    begun = demo(lambda _options: play())
    assert main(["demo", "--broker", "amqtt"]) == code
    folder = begun[0].folder
    assert folder.parent == tmp_path
    assert folder.is_dir() == is_kept
    assert (f"are kept in {folder}; delete it when done" in capsys.readouterr().err) == is_kept


def test_the_temporary_folder_stays_after_an_error_nobody_expected(
    demo: Callable[[Play], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    begun = demo(lambda _options: _raise(RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["demo", "--broker", "amqtt"])
    assert begun[0].folder.is_dir()
