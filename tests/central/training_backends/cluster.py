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

    _host = "127.0.0.1"

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
            *(f"--node-ip-address={self._host}", "--dashboard-host=127.0.0.1", "--include-dashboard=true"),
            *(f"--dashboard-port={dashboard}", f"--port={head}", f"--dashboard-agent-listen-port={agent}"),
            *(f"--ray-client-server-port={client}", f"--num-cpus={self._cpus}", f"--resources={self._resources}"),
            *(f"--num-gpus={self._gpus}", "--object-store-memory=100000000", f"--temp-dir={self._folder}"),
        ]
        self._run(command, self._mark)
        self._wait()

    def _run(self, command: list[str], mark: str) -> None:
        own = {MARK_VARIABLE: mark, "RAY_USAGE_STATS_ENABLED": "0", **self._authorisation, **self._options()}
        done = subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def _options(self) -> dict[str, str]:
        return _LOOPBACK_ONLY

    def kill(self) -> None:
        """All of it, as when the machine goes down."""
        _kill(self.processes())

    def close(self) -> None:
        self.kill()
        left = self.processes()
        shutil.rmtree(self._folder, ignore_errors=True)
        assert not left, left

    def processes(self) -> list[psutil.Process]:
        """By the mark, and their children: some overwrite the place where their environment stands."""
        return _marked(self._mark)

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


class RayOfTwoMachines(RayCluster):
    """A head that computes nothing and keeps its tables on disk, and a machine that works, each at a loopback address.

    Ray lets no other machine join a cluster at 127.0.0.1, and listens on all addresses where others may join.
    """

    _host = "127.0.0.2"

    def __init__(self) -> None:
        super().__init__(cpus=0, resources="{}", gpus=0)
        self._worker_mark = uuid.uuid4().hex

    def start(self) -> None:
        """The head, then the other."""
        super().start()
        head, agent = self._ports[1], free_port()
        self._run(
            [
                *(str(find_ray()), "start", f"--address={self._host}:{head}", "--disable-usage-stats"),
                *("--node-ip-address=127.0.0.3", f"--dashboard-agent-listen-port={agent}", "--num-cpus=4"),
                *("--num-gpus=0", "--object-store-memory=100000000"),
            ],
            self._worker_mark,
        )

    def kill_head(self) -> None:
        """As when its machine goes down; the other machine stays up."""
        _kill(_marked(self._mark))
        # On one machine Ray takes the other's address of the head for the head.
        (self._folder / "ray_current_cluster").unlink(missing_ok=True)

    def start_head(self) -> None:
        """At the same address, with the tables that lie on disk."""
        super().start()

    def processes(self) -> list[psutil.Process]:
        """Of both."""
        return [*super().processes(), *_marked(self._worker_mark)]

    def _options(self) -> dict[str, str]:
        return {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_gcs_storage": "rocksdb",
            "RAY_gcs_storage_path": str(self._folder / "tables"),
            # So long the other machine waits for its head; on a busy machine that takes more than a minute.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "900",
        }


def _marked(mark: str) -> list[psutil.Process]:
    found = {process.pid: process for process in marked_processes(mark)}
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found.update({child.pid: child for child in process.children(recursive=True)})
    return list(found.values())


def _kill(family: list[psutil.Process]) -> None:
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _, left = psutil.wait_procs([each for each in family if each.pid != os.getpid()], timeout=60)
    assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE], left
