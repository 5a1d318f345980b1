# SPDX-License-Identifier: Apache-2.0
"""A station in a process of its own that starts in a fraction of a second: forked from one that has imported it all.

Runs the very `main` of `sightline-edge`; the forerunner opens nothing, so what is forked is a fresh station. Builds no
settings and judges nothing. Used by `line`.
"""

import ctypes
import multiprocessing
import os
import subprocess
import sys
from ctypes import c_double
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["edge_agent.__main__", "tests.faults.station_process"])
_CLONE_NEWNS: Final = 0x00020000

# At run time the class takes no parameter.
WallOffset: TypeAlias = "Synchronized[float]"


@dataclass(frozen=True)
class Around:
    """What is different around the process.

    Args:
        wall_offset_s: added to its wall clock, read anew each time; None leaves the clock alone.
        hosts: lies over its /etc/hosts, with no other name service (in a mount namespace of its own).
    """

    wall_offset_s: "WallOffset | None" = None
    hosts: Path | None = None


def wall_offset() -> WallOffset:
    """An offset that a test can move while the station runs."""
    return _CONTEXT.Value(c_double, 0.0)


def start_process(settings: Path, log: Path, around: Around) -> ForkServerProcess:
    """Fork a station. It runs until it is told or killed; `log` gets what it prints."""
    process = _CONTEXT.Process(target=_run, args=(settings, log, around.wall_offset_s, around.hosts), daemon=True)
    process.start()
    return process


def why_hosts_cannot_be_laid_over() -> str:
    """Empty where `Around.hosts` can be had."""
    tried = subprocess.run(
        ["unshare", "-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"], capture_output=True, text=True, check=False
    )
    return f"a mount namespace is not permitted here: {tried.stderr.strip()}" if tried.returncode else ""


def _run(settings: Path, log: Path, offset_s: "WallOffset | None", hosts: Path | None) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in [name for name in os.environ if name.startswith("SIGHTLINE_")]:
        del os.environ[name]
    if hosts is not None:
        _lay_over(hosts)
    from edge_agent import __main__ as command  # noqa: PLC0415 - the test's own process needs none of it
    from edge_agent import app, clock  # noqa: PLC0415

    if offset_s is not None:
        shared = offset_s

        class MovedClock(clock.SystemClock):
            """The wall clock jumps when the test says so; the monotonic one never does."""

            def now(self) -> datetime:
                return datetime.now(UTC) + timedelta(seconds=shared.value)

        # In this process only: what the composition root takes for the machine's clock.
        vars(app)["SystemClock"] = MovedClock
    sys.exit(command.main(["run", "--settings", str(settings)]))


def _lay_over(hosts: Path) -> None:
    """Only this process and its children see the file: names are looked up by the system's own resolver."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "no mount namespace")
    nowhere = hosts.with_name("resolv.conf")
    nowhere.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    subprocess.run(["mount", "--bind", str(nowhere), "/etc/resolv.conf"], check=True)
