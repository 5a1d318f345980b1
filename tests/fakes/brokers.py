# SPDX-License-Identifier: Apache-2.0
"""Real brokers on a free port of loopback, stopped and started at will: mosquitto, and the plant's own amqtt."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from plant.processes.broker import BrokerKind, free_port, plan_broker

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
_ROOT = Path(__file__).parents[2]


class RealBroker(Protocol):
    """A broker process. `username` and `password` are None when it asks for none."""

    username: str | None
    password: str | None

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...


class _Process:
    """Start, wait until the port answers, kill."""

    def __init__(self, command: list[str], port: int) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    @property
    def url(self) -> str:
        """Address for a bus."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it listens."""
        self._process = subprocess.Popen(
            self._command,
            cwd=_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        msg = f"the broker does not listen on {self.port}"
        raise AssertionError(msg)

    def kill(self) -> None:
        """End it at once. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Mosquitto(_Process):
    """Anonymous unless `more` says otherwise; keeps nothing over a restart."""

    username: str | None = None
    password: str | None = None

    def __init__(self, folder: Path, *more: str, anonymous: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {str(anonymous).lower()}", "persistence false", *more]
        if os.geteuid() == 0:
            # Else it changes to a user that may not read the test's folder.
            lines.append("user root")
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        super().__init__([str(MOSQUITTO), "-c", str(config)], port)


class Amqtt(_Process):
    """The embedded broker, as the plant runs it: with a password."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        plan = plan_broker(BrokerKind.AMQTT, port, folder)
        self.username: str | None = plan.username
        self.password: str | None = plan.password
        super().__init__([sys.executable, *plan.spec.command[1:]], port)
