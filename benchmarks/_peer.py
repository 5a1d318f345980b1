# SPDX-License-Identifier: Apache-2.0
"""The field's standard library in an environment of its own, and its inferencers as a process that runs on demand.

The environment is made on first use, in the user's cache folder, from the package index. Nothing of the peer's is
imported here: its scripts (`_peer_scores`, `_peer_latency`) run there. Used by `compare_peer` and `latency`.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PEER: Final = "anomalib==2.7.0"
# With what its own `openvino` extra asks for: OpenVINO, NNCF and an exporter.
_PACKAGES: Final = (PEER.replace("==", "[openvino]=="), "torch==2.13.0", "onnx", "opencv-python-headless")


class PeerError(Exception):
    """The peer cannot take part; says why in one line."""


def environment(name: str = f"peer-{PEER.replace('==', '-')}-openvino", packages: tuple[str, ...] = _PACKAGES) -> Path:
    """The Python of the peer's own environment, made when absent; `packages` may say others than this peer's.

    Raises:
        PeerError: it could not be made; go on without the peer.
    """
    folder = Path.home() / ".cache" / "sightline" / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.is_file():
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr, flush=True)
        try:
            venv.create(folder, with_pip=True, clear=True)
            command = [str(python), "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (subprocess.CalledProcessError, OSError) as error:
            told = getattr(error, "stderr", None) or str(error)
            raise PeerError(f"{packages[0]} could not be installed: {_last_line(str(told))}") from error
        done.touch()
    return python


def script(name: str) -> str:
    """Path of a script of this folder that runs in the peer's environment."""
    return str(Path(__file__).with_name(name))


class Inferencers:
    """The peer's inferencers in a process of their own, one turn at a time. A context manager.

    Args:
        python: of `environment`.
        job: as `_peer_latency` wants it.

    Raises:
        PeerError: it could not be built, or ended; says what it said last.
    """

    def __init__(self, python: Path, job: Mapping[str, Any]) -> None:
        self._python, self._job = python, job
        self.about: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightline-peer-")))
            (folder / "job.json").write_text(json.dumps(self._job), encoding="utf-8")
            self._said = folder / "said.txt"
            said = stack.enter_context(self._said.open("wb"))
            # It leaves its cache in the folder that it is started in.
            self._process = subprocess.Popen(
                [str(self._python), script("_peer_latency.py"), str(folder / "job.json")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, cwd=folder,
            )  # fmt: skip
            stack.callback(self._end)
            self.about = json.loads(self._answer())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process and sweep away its files."""
        self._stack.__exit__(kind, error, trace)

    def turn_ms(self, variant: str, threads: int) -> tuple[float, float]:
        """One picture by one of the inferencers, on so many threads; the time that passed there, and processor time."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                print(variant, threads, file=self._process.stdin, flush=True)
        passed_ms, cpu_ms = json.loads(self._answer())
        return passed_ms, cpu_ms

    def _answer(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            told = self._said.read_text(encoding="utf-8", errors="replace")
            raise PeerError(f"{PEER} ended with {self._process.wait()}: {_last_line(told)}")
        return line

    def _end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.kill()
            self._process.communicate()


def _last_line(told: str) -> str:
    return told.strip().rsplit("\n", 1)[-1] or "it said nothing"
