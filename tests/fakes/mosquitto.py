# SPDX-License-Identifier: Apache-2.0
"""A real mosquitto on a free port of loopback, stopped and started at will."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

BINARY = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


class Mosquitto:
    """One broker process. Anonymous, in memory only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")

    @property
    def url(self) -> str:
        """Address for a bus."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it listens."""
        assert BINARY is not None
        self._process = subprocess.Popen(
            [BINARY, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        msg = f"mosquitto does not listen on {self.port}"
        raise AssertionError(msg)

    def kill(self) -> None:
        """End it at once. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
