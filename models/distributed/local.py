# SPDX-License-Identifier: Apache-2.0
"""Followers as processes of this machine, over gloo on the loopback interface.

They are of the leader's process group, so whoever signals or bounds the training reaches all of it; they end with the
leader whatever it dies of. Found through a file in a folder of their own, which is gone when they have met: no port is
open before. Called by `training` and `worker`.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch.distributed as dist

from contracts.jobs import ResourceUsage
from models.distributed.group import IDLE_S, Group
from models.errors import WorkerLostError
from models.settings import variable_set
from models.usage import used_by

# Importing torch on a busy machine takes its time.
_START_S: Final = 600.0
_END_S: Final = 5.0
_STORE: Final = "store"
_INTERFACE: Final = "GLOO_SOCKET_IFNAME"


def join(folder: Path, rank: int, size: int) -> None:
    """Take the place of `rank` in the group that meets in `folder`; returns when all are there."""
    (folder / f"ready-{rank}").touch()
    store = dist.FileStore(str(folder / _STORE), size)  # type: ignore[attr-defined]  # torch's stub hides it
    # Gloo would listen at the address that the machine's name has.
    names = [name for _, name in socket.if_nameindex()]
    with variable_set(_INTERFACE, next((name for name in ("lo", "lo0") if name in names), "")):
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=IDLE_S))


class LocalFollowers:
    """`leading.Starter` on this machine."""

    may_restart: Final = True

    def __init__(self, workers: int, threads_each: int) -> None:
        self._workers = workers
        self._threads_each = threads_each
        self._folder: Path | None = None
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> Group:
        """See `leading.Starter`."""
        self._folder = Path(tempfile.mkdtemp(prefix="sightline-workers-"))
        for rank in range(1, self._workers):
            with (self._folder / f"worker-{rank}.log").open("wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-m", "models.distributed.worker", str(self._folder)),
                            *(str(rank), str(self._workers), str(self._threads_each)),
                        ],
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=log,
                    )
                )
        until_s = time.monotonic() + _START_S
        while not all((self._folder / f"ready-{rank}").exists() for rank in range(1, self._workers)):
            self.check()
            if time.monotonic() > until_s:
                raise WorkerLostError(
                    f"workers: expected all {self._workers} to start within {_START_S:.0f} s, they did not"
                )
            time.sleep(0.02)
        try:
            join(self._folder, 0, self._workers)
        except RuntimeError as error:
            self.check()
            raise WorkerLostError(f"workers: {self._workers} did not meet ({error})") from error
        return Group(self.check)

    def check(self) -> None:
        """Raises WorkerLostError when a follower has ended before it was told to."""
        for rank, process in enumerate(self.processes, start=1):
            code = process.poll()
            if code is not None:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                said = self._last_words(rank)
                raise WorkerLostError(
                    f"workers: worker {rank} of {self._workers} {how}{f', saying {said!r}' if said else ''}"
                )

    def _last_words(self, rank: int) -> str:
        if self._folder is None:
            return ""
        try:
            lines = (self._folder / f"worker-{rank}.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:300] if lines else ""

    def used(self, group: Group | None) -> list[ResourceUsage]:
        """As the system counts it; one that was waited for counts with the ended children of the leader."""
        del group
        found = (used_by(process.pid) for process in self.processes if process.returncode is None)
        return [one for one in found if one is not None]

    def end(self) -> None:
        """Those that were told so end by themselves; the others are killed."""
        until_s = time.monotonic() + _END_S
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until_s - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
        self.processes = []
        if dist.is_initialized():
            # Not before: it waits for what is under way, and a follower that hangs would never end that.
            dist.destroy_process_group()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
