# SPDX-License-Identifier: Apache-2.0
"""Runs the `sightline` command as a person does, in a process of its own, and reads what it wrote."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Shown:
    """What a run of the command left behind."""

    code: int
    said: str
    report: dict[str, Any]


RunDemo = Callable[..., Shown]


@pytest.fixture(name="run_demo")
def _run_demo(tmp_path: Path) -> Iterator[RunDemo]:
    """`run_demo(scenario_text, *options)`: play a scenario written for the test, headless, to its end."""
    started: list[subprocess.Popen[str]] = []

    def run(scenario: str, *options: str) -> Shown:
        file, out, data = tmp_path / "story.toml", tmp_path / "out.json", tmp_path / "data"
        file.write_text(scenario, encoding="utf-8")
        command = [sys.executable, "-m", "plant.cli", "demo", "--scenario", str(file), "--headless"]
        command += ["--report", str(out), "--data", str(data), *options]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
        started.append(child)
        said, _ = child.communicate()
        report = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        return Shown(child.returncode, said, report)

    yield run
    for child in started:
        if child.poll() is None:
            child.terminate()
            child.wait(timeout=10)
