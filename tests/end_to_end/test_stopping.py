# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and even SIGKILL of the command leave nothing running."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from plant.processes.guardian import MARK_VARIABLE, marked_processes
from tests.plant.conftest import wait_until

STARTED = "stations st-1, st-2 started"


def _start(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    """A demo whose processes are up, and the mark that all of them carry."""
    command = [sys.executable, "-m", "plant.cli", "demo", "--headless", "--broker", "amqtt", "--data", str(folder)]
    # As a shell starts a job in the background, which is how many CI systems start everything.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert demo.stdout is not None
    said = []
    for line in demo.stdout:
        said.append(line)
        if STARTED in line:
            break
    else:
        pytest.fail(f"the plant did not start: {''.join(said)}")
    marks = {child.environ().get(MARK_VARIABLE) for child in psutil.Process(demo.pid).children()} - {None}
    assert len(marks) == 1
    return demo, str(marks.pop())


@pytest.mark.slow
@pytest.mark.line_time
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_running_when_the_command_is_stopped(tmp_path: Path, number: signal.Signals, code: int) -> None:
    demo, mark = _start(tmp_path / "data")
    with demo:
        assert len(marked_processes(mark)) >= 4
        os.kill(demo.pid, number)
        assert demo.stdout is not None
        demo.stdout.read()
    assert demo.returncode == code
    wait_until(lambda: not marked_processes(mark), "processes of the plant were left behind")
