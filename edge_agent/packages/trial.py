# SPDX-License-Identifier: Apache-2.0
"""A downloaded package is first opened and run in a process of its own, bounded in memory and time.

A graph can ask for 10 GB of zeros, loop for ever or crash the runtime; in the station's process each would end the
judging of parts. Here it ends a child. Passing proves nothing but that: whether the scores are right is the self-test's
to say, afterwards and on the station's own provider. On Linux alone is the memory bounded. Called by the installer.
"""

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contracts.manifest import PackageManifest
from contracts.vocabulary import RefusalReason
from edge_agent.packages.graphs import check_graph
from edge_agent.packages.trust import PackageRefused

# Refuses a downloaded package in a folder; the quick one is `check_graphs`, the whole one a `Trial`.
Admit = Callable[[Path, PackageManifest], None]

_log = logging.getLogger(__name__)

_MEMORY_BYTES: Final = 2 * 1024**3
# What a graph's weights become in memory: read, unpacked, laid out anew.
_COPIES_OF_GRAPH: Final = 4
_TIMEOUT_S: Final = 180.0
_OUT_OF_MEMORY: Final = 3
_TOLD: Final = 600


class Trial:
    """See the module.

    Args:
        memory_bytes: what the child may take beyond its start, and a multiple of the graph's size.
        timeout_s: for all variants of one package.
    """

    def __init__(self, *, memory_bytes: int = _MEMORY_BYTES, timeout_s: float = _TIMEOUT_S) -> None:
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s

    def __call__(self, folder: Path, manifest: PackageManifest) -> None:
        """Refuse what may not be opened in the station's process.

        Raises:
            PackageRefused: UNREADABLE (`check_graph`, or the runtime crashed), TOO_LARGE, SELF_TEST (no end in time).
            OSError: no process can be started.
        """
        check_graphs(folder, manifest)
        graphs = [folder / form.file for form in manifest.variants if (folder / form.file).exists()]
        size = max((path.stat().st_size for path in graphs), default=0)
        job = {
            "graphs": [str(path) for path in graphs],
            "golden": str(folder / manifest.golden.file),
            "memory_bytes": self._memory_bytes + _COPIES_OF_GRAPH * size,
        }
        try:
            done = subprocess.run(
                [sys.executable, "-m", "edge_agent.packages.trial", json.dumps(job)],
                capture_output=True,
                check=False,
                timeout=self._timeout_s,
                cwd=Path(__file__).parents[2],
            )
        except subprocess.TimeoutExpired as error:
            msg = f"package: tried out in a process of its own, no end after {self._timeout_s:g} s"
            raise PackageRefused(RefusalReason.SELF_TEST, msg) from error
        told = done.stderr.decode(errors="replace").strip()[-_TOLD:]
        if done.returncode == _OUT_OF_MEMORY:
            msg = f"package: tried out in a process of its own, it asked for more memory than it may take: {told}"
            raise PackageRefused(RefusalReason.TOO_LARGE, msg)
        if done.returncode < 0:
            msg = f"package: tried out in a process of its own, it ended that by signal {-done.returncode}: {told}"
            raise PackageRefused(RefusalReason.UNREADABLE, msg)
        # Whatever else went wrong is met again in the station's own process, where it has its proper reason.
        _log.info("package tried out code=%d", done.returncode)


def check_graphs(folder: Path, manifest: PackageManifest) -> None:
    """Look into every graph that was downloaded, without opening it.

    Raises:
        PackageRefused: UNREADABLE.
    """
    for form in manifest.variants:
        if (folder / form.file).exists():
            check_graph(folder / form.file)


def _main(job: dict[str, object]) -> int:
    """The child: every graph, on the CPU, with the first golden image."""
    import numpy as np  # noqa: PLC0415 - the parent needs none of this
    import onnxruntime as ort  # noqa: PLC0415 - as above

    os.nice(10)
    limit = _address_space() + int(str(job["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with np.load(str(job["golden"]), allow_pickle=False) as content:
            images = content["images"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graphs = job["graphs"]
        for path in graphs if isinstance(graphs, list) else ():
            session = ort.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
            session.run(None, {session.get_inputs()[0].name: images[:1]})
    except MemoryError as error:
        sys.stderr.write(f"{error}\n")
        return _OUT_OF_MEMORY
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a family of unrelated classes
        sys.stderr.write(f"{error}\n")
        return _OUT_OF_MEMORY if "alloc" in str(error) else 1
    return 0


def _address_space() -> int:
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(_main(json.loads(sys.argv[1])))
