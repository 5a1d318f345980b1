# SPDX-License-Identifier: Apache-2.0
"""A small supervisor that does what systemd does for a unit of Type=notify.

It waits for READY=1, kills a process that is silent, and starts it again. Its rules are those of sd_notify(3) and of
`WatchdogSec=` and `Restart=` in systemd.service(5).
"""

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Self


class Supervisor:
    """Supervises one command. Use as a context manager; `messages` are (pid, lines) in order of arrival."""

    def __init__(self, command: list[str], folder: Path, watchdog_s: float) -> None:
        self.messages: list[tuple[int, list[str]]] = []
        self.pids: list[int] = []
        self.killed: list[int] = []
        self.log = folder / "supervised.log"
        self._command = command
        self._watchdog_s = watchdog_s
        self._address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self._address)
        self._socket.settimeout(0.05)
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending.set()
        self._thread.join(timeout=60)
        self._socket.close()

    def said(self, line: str, pid: int) -> int:
        """How often that process said this."""
        return sum(line in lines for sender, lines in self.messages if sender == pid)

    def _start(self) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
        environ |= {"NOTIFY_SOCKET": self._address, "WATCHDOG_USEC": str(int(self._watchdog_s * 1e6))}
        with self.log.open("ab") as log:
            process = subprocess.Popen(self._command, env=environ, stdout=log, stderr=log)
        self.pids.append(process.pid)
        return process

    def _run(self) -> None:
        process = self._start()
        # The watchdog counts from READY=1 on, as systemd's does.
        heard_s: float | None = None
        while not self._is_ending.is_set():
            for sender, lines in self._arrived():
                if sender == process.pid and ("READY=1" in lines or "WATCHDOG=1" in lines):
                    heard_s = time.monotonic()
            if heard_s is not None and time.monotonic() - heard_s > self._watchdog_s:
                self.killed.append(process.pid)
                process.send_signal(signal.SIGABRT)
                try:
                    process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    # A stopped process takes no signal but this one; systemd does the same after its time-out.
                    process.kill()
                    process.wait(timeout=30)
            if process.poll() is not None:
                process = self._start()
                heard_s = None
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        self._arrived()

    def _arrived(self) -> list[tuple[int, list[str]]]:
        found: list[tuple[int, list[str]]] = []
        while True:
            try:
                content, ancillary, _, _ = self._socket.recvmsg(65536, 256)
            except TimeoutError:
                break
            sender = next((int.from_bytes(value[:4], "little") for _, _, value in ancillary), 0)
            found.append((sender, content.decode().split("\n")))
        self.messages += found
        return found
