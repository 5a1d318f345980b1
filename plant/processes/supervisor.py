# SPDX-License-Identifier: Apache-2.0
"""Starts, watches, restarts and stops the processes of a plant, and forwards their logs.

Every child stands in a session of its own, so a Ctrl-C at the terminal reaches the supervisor alone, which
then ends all of them: SIGTERM, and SIGKILL for those that are left after the grace. When the supervisor
itself dies, however it dies, `plant.processes.guardian` does the same. Does not know what the children do and does not
talk to them. Used by `plant.processes.site`.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from plant.processes.guardian import MARK_VARIABLE, end_marked
from plant.processes.rundir import RotatingLog

logger = logging.getLogger(__name__)
Printer = Callable[[str], None]


@dataclass(frozen=True)
class ChildSpec:
    """How to start one child. `environment` is laid over the supervisor's own."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_restarted: bool = True


@dataclass(frozen=True)
class SupervisorSettings:
    """Bounds of the supervisor.

    A child that dies is started again after `backoff_s`, doubled up to `max_backoff_s`; more than
    `max_restarts` within `restart_window_s` means that it is given up and the plant has failed.
    """

    grace_s: float = 3.5
    backoff_s: float = 0.3
    max_backoff_s: float = 5.0
    max_restarts: int = 8
    restart_window_s: float = 60.0
    poll_s: float = 0.05


@dataclass
class _Child:
    spec: ChildSpec
    log: RotatingLog
    running: subprocess.Popen[bytes] | None = None
    # When it died lately (monotonic), oldest first: the restart budget.
    deaths: deque[float] = field(default_factory=deque)
    restarts: int = 0
    start_at: float | None = None
    is_wanted: bool = True
    last_line: str = ""


class Supervisor:
    """All children of one plant. Methods may be called from any thread."""

    def __init__(
        self,
        log_folder: Path,
        *,
        settings: SupervisorSettings | None = None,
        printer: Printer | None = None,
    ) -> None:
        self._settings = settings or SupervisorSettings()
        self._log_folder = log_folder
        self._printer = printer
        self._mark = uuid.uuid4().hex
        self._children: dict[str, _Child] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._failure: str | None = None
        self._guardian = self._start_guardian()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    @property
    def failure(self) -> str | None:
        """Why the plant cannot go on, or None."""
        return self._failure

    @property
    def restarts(self) -> dict[str, int]:
        """How often each child was started again."""
        with self._lock:
            return {name: child.restarts for name, child in self._children.items()}

    def start(self, spec: ChildSpec) -> None:
        """Start a child and keep it running.

        Raises:
            ValueError: a child of this name is there already.
            OSError: the program cannot be started (not found, not executable).
        """
        with self._lock:
            if spec.name in self._children:
                msg = f"child {spec.name!r} is there already"
                raise ValueError(msg)
            child = _Child(spec=spec, log=RotatingLog(self._log_folder / f"{spec.name}.log"))
            self._spawn(child)
            self._children[spec.name] = child

    def pid(self, name: str) -> int | None:
        """Process id of a child, None while it is down."""
        with self._lock:
            running = self._children[name].running
            return running.pid if running is not None and running.poll() is None else None

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time of each child so far, what it started included; of the present one if it was restarted."""
        found = {}
        with self._lock:
            pids = {name: child.running.pid for name, child in self._children.items() if child.running is not None}
        for name, pid in pids.items():
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                found[name] = round(times.user + times.system + times.children_user + times.children_system, 1)
        return found

    def last_line(self, name: str) -> str:
        """Last line the child logged, to be shown when it failed."""
        return self._children[name].last_line

    def kill(self, name: str) -> int | None:
        """SIGKILL one child, as a fault would; it is started again as after any death. Returns its process id."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    def halt(self, name: str) -> None:
        """End one child and leave it down until `resume`."""
        with self._lock:
            child = self._children[name]
            child.is_wanted = False
            running = child.running
        self._end([running] if running is not None else [])

    def resume(self, name: str) -> None:
        """Let a halted child run again."""
        with self._lock:
            child = self._children[name]
            child.is_wanted = True
            child.start_at = time.monotonic()
            # Not counted: it did not die, it was told to stay away.
            child.restarts -= 1

    def stop(self) -> None:
        """End all children and what they started: SIGTERM, then SIGKILL after the grace. Safe to call twice."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
            running = [child.running for child in self._children.values() if child.running is not None]
        self._end(running)
        # What children started in sessions of their own; normally nothing is left.
        end_marked(self._mark, grace_s=0.2, but=frozenset({os.getpid(), self._guardian.pid}))
        self._watcher.join(timeout=1)
        if self._guardian.stdin is not None:
            with contextlib.suppress(OSError):
                self._guardian.stdin.close()
        try:
            self._guardian.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        for child in self._children.values():
            child.log.close()

    def _start_guardian(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "plant.processes.guardian", self._mark, str(self._settings.grace_s)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)

    def _spawn(self, child: _Child) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **child.spec.environment, MARK_VARIABLE: self._mark}
        child.running = subprocess.Popen(
            child.spec.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        child.start_at = None
        name = child.spec.name
        logger.info("child started name=%s pid=%d", name, child.running.pid)
        threading.Thread(
            target=self._forward, args=(child, child.running.stdout), name=f"log-{name}", daemon=True
        ).start()

    def _forward(self, child: _Child, stream: IO[bytes] | None) -> None:
        if stream is None:
            return
        # A line without an end must not grow without bound.
        with stream:
            while line := stream.readline(65536):
                child.log.write(line if line.endswith(b"\n") else line + b"\n")
                text = line.decode(errors="replace").rstrip()
                if text:
                    child.last_line = text[:500]
                if self._printer is not None:
                    self._printer(f"[{child.spec.name}] {text}")

    def _watch(self) -> None:
        while not self._stopping.wait(self._settings.poll_s):
            now = time.monotonic()
            with self._lock:
                for child in self._children.values():
                    if self._stopping.is_set():
                        return
                    self._look_after(child, now)

    def _look_after(self, child: _Child, now: float) -> None:
        if child.running is not None and child.running.poll() is not None:
            code, child.running = child.running.returncode, None
            if child.is_wanted:
                self._plan_restart(child, code, now)
        if child.running is None and child.is_wanted and child.start_at is not None and now >= child.start_at:
            try:
                self._spawn(child)
            except OSError as error:
                self._failure = f"{child.spec.name} cannot be started: {error}"
                child.is_wanted = False
            else:
                child.restarts += 1

    def _plan_restart(self, child: _Child, code: int, now: float) -> None:
        settings, name = self._settings, child.spec.name
        child.deaths.append(now)
        while child.deaths and now - child.deaths[0] > settings.restart_window_s:
            child.deaths.popleft()
        child.log.write(f"--- {name} ended with code {code} ---\n".encode())
        logger.warning("child ended name=%s code=%d deaths=%d", name, code, len(child.deaths))
        if not child.spec.is_restarted or len(child.deaths) > settings.max_restarts:
            child.is_wanted = False
            how_often = (
                f" {len(child.deaths)} times within {settings.restart_window_s:.0f} s" if len(child.deaths) > 1 else ""
            )
            self._failure = (
                f"{name} ended{how_often}, last with code {code}; its last words: {child.last_line or '(none)'}; "
                f"see {self._log_folder / (name + '.log')}"
            )
            return
        child.start_at = now + min(settings.backoff_s * 2 ** (len(child.deaths) - 1), settings.max_backoff_s)

    def _end(self, running: list[subprocess.Popen[bytes]]) -> None:
        for each in running:
            _signal_group(each, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.grace_s
        for each in running:
            try:
                each.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("child ignores SIGTERM pid=%d", each.pid)
        for each in running:
            if each.poll() is None:
                _signal_group(each, signal.SIGKILL)
                each.wait()


def _signal_group(running: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # start_new_session made the child's pid its group's id; the id cannot be reused before wait().
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, number)
