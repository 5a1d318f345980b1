# SPDX-License-Identifier: Apache-2.0
"""A real Ray cluster of one machine, on loopback alone, that is certainly gone after the tests."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import httpx
import psutil

from plant.processes.broker import free_port
from plant.processes.guardian import MARK_VARIABLE, marked_processes

# Ray's own name for "loopback is the address of this machine": else it asks for an address that others can reach,
# whatever it is told, and listens on all.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_START_S = 240.0


def find_ray() -> Path | None:
    """The command, of this interpreter's own environment."""
    beside = Path(sys.executable).with_name("ray")
    return beside if beside.is_file() else None


class RayCluster:
    """`start`, `kill` (SIGKILL to all of it), and `start` again at the same address."""

    def __init__(self, cpus: int = 4, resources: str = '{"slot": 1}', token: str = "", gpus: int = 1) -> None:
        """`token`: that it asks everybody for; empty: none. `gpus`: that it takes itself to have."""
        # Its sockets lie there, and their paths may have only about a hundred letters.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._mark = uuid.uuid4().hex
        self._cpus, self._resources, self._gpus = cpus, resources, gpus
        # Said in either case: it would take up a token file of whoever runs the tests.
        self._authorisation = {"RAY_AUTH_MODE": "token" if token else "disabled", "RAY_AUTH_TOKEN": token}
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._ports = [free_port() for _ in range(4)]
        self.address = f"http://127.0.0.1:{self._ports[0]}"

    def start(self) -> None:
        dashboard, head, agent, client = self._ports
        command = [
            *(str(find_ray()), "start", "--head", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true"),
            *(f"--dashboard-port={dashboard}", f"--port={head}", f"--dashboard-agent-listen-port={agent}"),
            *(f"--ray-client-server-port={client}", f"--num-cpus={self._cpus}", f"--resources={self._resources}"),
            *(f"--num-gpus={self._gpus}", "--object-store-memory=100000000", f"--temp-dir={self._folder}"),
        ]
        own = {MARK_VARIABLE: self._mark, "RAY_USAGE_STATS_ENABLED": "0", **_LOOPBACK_ONLY, **self._authorisation}
        done = subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        self._wait()

    def kill(self) -> None:
        """All of it, as when the machine goes down."""
        family = self.processes()
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _, left = psutil.wait_procs([each for each in family if each.pid != os.getpid()], timeout=60)
        assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE], left

    def close(self) -> None:
        self.kill()
        left = self.processes()
        shutil.rmtree(self._folder, ignore_errors=True)
        assert not left, left

    def processes(self) -> list[psutil.Process]:
        """By the mark, and their children: some overwrite the place where their environment stands."""
        found = {process.pid: process for process in marked_processes(self._mark)}
        for process in list(found.values()):
            with contextlib.suppress(psutil.Error):
                found.update({child.pid: child for child in process.children(recursive=True)})
        return list(found.values())

    def _wait(self) -> None:
        """It answers at once, but takes jobs only when its agent has come up."""
        deadline, job = time.monotonic() + _START_S, f"first-{uuid.uuid4().hex}"
        with httpx.Client(base_url=self.address, headers=self._headers, trust_env=False, timeout=30) as http:
            while True:
                try:
                    if http.post("/api/jobs/", json={"entrypoint": "true", "submission_id": job}).is_success:
                        break
                except httpx.HTTPError:
                    pass
                assert time.monotonic() < deadline, "the cluster takes no job"
                time.sleep(0.5)
            while http.get(f"/api/jobs/{job}").json()["status"] != "SUCCEEDED":
                assert time.monotonic() < deadline, "the cluster does no job"
                time.sleep(0.2)
