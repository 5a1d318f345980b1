# SPDX-License-Identifier: Apache-2.0
"""What the plant's tests share: waiting for a condition, and stand-in child processes."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plant.processes.supervisor import ChildSpec, Supervisor, SupervisorSettings


def wait_until(condition: Callable[[], object], words: str, within_s: float = 30.0) -> None:
    """Wait for a condition; a test that waits in vain fails with the words given."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, words
        time.sleep(0.02)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], object], str], None]:
    """`wait_until` as a fixture."""
    return wait_until


@pytest.fixture(name="python_child")
def _python_child() -> Callable[[str, str], ChildSpec]:
    """A child that runs a few lines of Python."""

    def make(name: str, code: str) -> ChildSpec:
        return ChildSpec(name=name, command=(sys.executable, "-c", code))

    return make


@pytest.fixture(name="supervisor")
def _supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", settings=SupervisorSettings(backoff_s=0.05, max_restarts=3))
    yield supervisor
    supervisor.stop()
