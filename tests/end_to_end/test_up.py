# SPDX-License-Identifier: Apache-2.0
"""`sightline up` goes on where it stopped: packages, tokens, ports and trigger numbers survive a restart."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from contracts.vocabulary import Role
from plant.findings.report import account
from plant.line.truth import TruthBook
from plant.processes.broker import LOOPBACK
from plant.processes.rundir import lock_owner
from plant.processes.site import SiteState
from plant.run.central_client import CentralClient
from plant.run.follower import Follower

STORY = """
title = "A small plant that runs for good"
seed = 3
takt_s = 0.2
size_px = 128
commissioning_parts = 60

[[station]]
name = "st-1"
product = "ring"

[defects]
missing = 0.03
"""


class _Up:
    """One start of the plant, read line by line."""

    def __init__(self, folder: Path, story: Path) -> None:
        command = [sys.executable, "-m", "plant.cli", "up", "--scenario", str(story), "--data", str(folder)]
        command += ["--no-dashboard", "--broker", "amqtt"]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said: list[str] = []

    def until(self, words: str) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.said.append(line)
            if words in line:
                return
        pytest.fail(f"never said {words!r}: {''.join(self.said)}")

    def stop(self) -> None:
        self.child.send_signal(signal.SIGINT)
        with self.child:
            self.child.communicate()
        assert self.child.returncode == 130


def _follow(folder: Path) -> Follower:
    state = SiteState.read(folder)
    assert state is not None
    url, token = f"http://{LOOPBACK}:{state.central_port}", state.tokens[Role.ADMIN.value]
    with closing(CentralClient(url, token)) as client:
        follower = Follower(client)
        assert follower.poll()
    return follower


@pytest.mark.slow
@pytest.mark.line_time
@pytest.mark.xdist_group("others")
@pytest.mark.timeout(400)
def test_plant_goes_on_where_it_stopped(tmp_path: Path) -> None:
    story, folder = tmp_path / "story.toml", tmp_path / "data"
    story.write_text(STORY, encoding="utf-8")
    first = _Up(folder, story)
    try:
        first.until("active at all stations")
        first.until("OK ")
        before = _follow(folder)
    finally:
        first.stop()
    assert lock_owner(folder) is None

    second = _Up(folder, story)
    try:
        second.until("in service already")
        second.until("OK ")
        after = _follow(folder)
        with closing(TruthBook(folder / "truth.db")) as truth:
            passed = [
                part for part in truth.rows() if part.trigger_number <= max(r.trigger_number for r in after.reports)
            ]
    finally:
        second.stop()
    assert {package.package_id for package in after.packages} == {package.package_id for package in before.packages}
    assert len(after.reports) > len(before.reports)
    counted = account(passed, after.reports)
    assert (counted.reports_lost, counted.reports_duplicated, counted.reports_unknown) == (0, 0, 0)
