# SPDX-License-Identifier: Apache-2.0
"""What `sightline` says to wrong options: expected, got, what to do; never a traceback."""

import socket
from pathlib import Path

import pytest

from plant.cli import main
from plant.processes.broker import LOOPBACK, free_port
from plant.processes.rundir import FolderLock
from plant.processes.site import SiteState


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--scenario", "nope"], "expected a .toml file or one of: changeover"),
        (["demo", "--source", "nowhere", "--layout", "mvtec"], "expected a folder, got nowhere"),
        (["demo", "--source", "."], "--source needs --layout"),
        (["demo", "--source", ".", "--layout", "cubist"], "expected one of mvtec, magnetic-tile"),
        (["demo", "--layout", "mvtec"], "go with --source"),
        (["demo", "--new-defect", "crack"], "go with --source"),
        (["demo", "--scenario", "up"], "never ends; give --parts"),
        (["demo", "--parts", "-3"], "--parts -3"),
        (["demo", "--report", "no/such/folder/out.json"], "expected a file in an existing folder"),
        (["up", "--stations", "0"], "--stations: expected 1 to 16, got 0"),
        (["up", "--product", "teapot"], "--product: expected one of ring, board"),
    ],
)
def test_wrong_option_ends_with_code_2_and_a_sentence(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_taken_port_is_named_with_the_option_to_change(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["demo", "--headless", "--data", str(tmp_path), "--broker", "amqtt", "--port", str(port)])
    assert code == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_folder_of_a_running_plant_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    code = main(["demo", "--headless", "--data", str(tmp_path), "--broker", "amqtt"])
    lock.release()
    assert code == 2
    assert "is running on it already" in capsys.readouterr().err


def test_missing_mosquitto_is_said_before_anything_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plant.processes.broker.find_mosquitto", lambda: None)
    assert main(["demo", "--broker", "mosquitto"]) == 2
    assert "not on the PATH" in capsys.readouterr().err


def test_one_port_for_two_servers_is_said_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    same = str(free_port())
    assert main(["demo", "--headless", "--data", str(tmp_path), "--port", same, "--broker-port", same]) == 2
    assert f"port {same} is wanted twice; give another one with --port" in capsys.readouterr().err


def test_demo_refuses_a_folder_that_holds_a_plant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    SiteState(1, 2, 3).write(tmp_path)
    assert main(["demo", "--headless", "--data", str(tmp_path)]) == 2
    assert "holds a plant already" in capsys.readouterr().err


def test_all_shipped_scenarios_are_listed_with_their_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    listed = capsys.readouterr().out
    for name in ("new-defect", "lamp-fades", "changeover", "rough-network", "up"):
        assert name in listed


def test_status_of_an_empty_folder_says_how_to_start(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["status", "--data", str(tmp_path)]) == 2
    assert "sightline up --data" in capsys.readouterr().err


def test_status_of_a_stopped_plant_is_a_code_of_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    SiteState(1, 2, 3).write(tmp_path)
    assert main(["status", "--data", str(tmp_path)]) == 3
    assert "not running" in capsys.readouterr().out


def test_state_with_tokens_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    SiteState(1, 2, 3, tokens={"ADMIN": "secret"}).write(tmp_path)
    assert (tmp_path / "plant.json").stat().st_mode & 0o077 == 0
    read = SiteState.read(tmp_path)
    assert read is not None
    assert read.tokens == {"ADMIN": "secret"}
