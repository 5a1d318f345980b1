# SPDX-License-Identifier: Apache-2.0
"""A real MLflow tracking server on loopback, out of an environment of its own that is made on first use.

MLflow is no dependency of ours: about 850 MB with what it brings. Its usage telemetry is switched off before it starts.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks._peer import environment

MLFLOW = "mlflow==3.17.2"
# Neither does it start a dozen processes for jobs that nobody gives it.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its URL, while it runs."""
    python = environment(MLFLOW.replace("==", "-"), (MLFLOW,))
    port, folder = free_port(), folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    path = f"{python.parent}:/usr/bin:/bin"
    with (folder / "server.log").open("wb") as log:
        # A group of its own: it starts workers that outlive a parent which is killed.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={"PATH": path, "HOME": str(folder), **QUIET},
            start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            while not _answers(url):
                assert process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.2)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=10).text == "OK"
    except httpx.HTTPError:
        return False
