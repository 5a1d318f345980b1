# SPDX-License-Identifier: Apache-2.0
"""The station under a real supervisor of processes: told when it is ready, killed and started again when it hangs."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.supervision.unit import UNIT_NAME, render_unit
from plant.processes.broker import free_port
from tests.edge.commissioning.rig import StationFolder
from tests.edge.supervision.supervisor import Supervisor
from tests.fakes.waiting import wait_until

WATCHDOG_S = 3.0


@pytest.fixture
def station(tmp_path: Path) -> StationFolder:
    made = StationFolder(tmp_path / "station")
    made.values |= {"source.loop": True, "source.rate_hz": 5, "page.port": free_port()}
    return made


def _command(station: StationFolder) -> list[str]:
    return [sys.executable, "-m", "edge_agent", "run", "--settings", str(station.settings())]


def _wait(supervisor: Supervisor, line: str, number: int) -> int:
    """Wait until the process with this number in order of starts has said it; its pid."""
    wait_until(
        lambda: len(supervisor.pids) > number and supervisor.said(line, supervisor.pids[number]) > 0,
        lambda: supervisor.log.read_text()[-3000:],
    )
    return supervisor.pids[number]


@pytest.mark.slow
def test_frozen_station_is_killed_started_again_and_judges_on(station: StationFolder, tmp_path: Path) -> None:
    with Supervisor(_command(station), tmp_path, WATCHDOG_S) as supervisor:
        first = _wait(supervisor, "READY=1", 0)
        wait_until(lambda: supervisor.said("WATCHDOG=1", first) > 3)
        assert supervisor.killed == []
        os.kill(first, signal.SIGSTOP)
        second = _wait(supervisor, "READY=1", 1)
        assert supervisor.killed == [first]
        wait_until(lambda: supervisor.said("WATCHDOG=1", second) > 2)
        states = [lines for sender, lines in supervisor.messages if sender == second]
        assert any(line.startswith("STATUS=") and "parts" in line for lines in states for line in lines)
    # Ended on purpose: it says so, and the supervisor need not kill it.
    assert supervisor.said("STOPPING=1", second) == 1
    assert supervisor.killed == [first]


@pytest.mark.slow
def test_judge_that_hangs_falls_silent_though_the_process_lives_and_its_stack_is_logged(
    station: StationFolder, tmp_path: Path
) -> None:
    program = (
        "import sys, time\n"
        "from edge_agent import loop, __main__ as command\n"
        "from edge_agent.judging import Judge\n"
        "loop._HEARD_WITHIN_S = 1.0\n"
        "def hang(self, frame): time.sleep(600)\n"
        "Judge.judge = hang\n"
        f"sys.exit(command.main({_command(station)[3:]!r}))\n"
    )
    with Supervisor([sys.executable, "-c", program], tmp_path, WATCHDOG_S) as supervisor:
        _wait(supervisor, "READY=1", 0)
        _wait(supervisor, "READY=1", 1)
        assert supervisor.killed[:1] == supervisor.pids[:1]
        assert supervisor.said("STATUS=stalled: judge", supervisor.pids[0]) > 0
    text = supervisor.log.read_text()
    assert "threads not heard threads=['judge']" in text
    assert "in hang" in text, "SIGABRT did not write where the judge stood"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("folder", ["/var/lib/sightline/data", "/srv/line 1/50%"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, folder: str) -> None:
    command = [shutil.which("true") or "/bin/true"]
    text = render_unit(command, Path("/etc/sightline/station.toml"), Path(folder), "daemon")
    (tmp_path / UNIT_NAME).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT_NAME)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_unit_is_printed_with_the_paths_of_this_machine(
    station: StationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = station.settings()
    assert main(["unit", "--settings", str(path), "--user", "inspector"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert any(line.startswith("ExecStart=/") and line.endswith(f" run --settings {path}") for line in lines)
    assert "User=inspector" in lines
    assert f"ReadWritePaths=-{station.folder / 'data'}" in lines
    for wanted in (
        "Type=notify",
        "WatchdogSec=30",
        "Restart=always",
        "RestartPreventExitStatus=2",
        "NoNewPrivileges=yes",
    ):
        assert wanted in lines
    station.values["typo"] = 1
    assert main(["unit", "--settings", str(station.settings())]) == 2


def test_home_stays_readable_when_the_program_lies_there() -> None:
    far = render_unit(["/usr/bin/sightline-edge"], Path("/etc/s.toml"), Path("/var/lib/sightline"), "s")
    near = render_unit(["/home/a/venv/bin/sightline-edge"], Path("/etc/s.toml"), Path("/var/lib/sightline"), "s")
    assert "ProtectHome=yes" in far
    assert "ReadWritePaths" not in far
    assert "ProtectHome=read-only" in near
