# SPDX-License-Identifier: Apache-2.0
"""No library tells anybody what a plant does."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge import tiny_package

ROOT = Path(__file__).resolve().parents[2]
OPENS = {
    "edge_agent": "from edge_agent.inference.onnx import open_session\n"
    "open_session(path, provider='CPUExecutionProvider', threads=1).run(np.zeros((64, 64, 3), np.uint8))\n",
    "models": "from models.graphs.features import open_session\n"
    "session = open_session(path.read_bytes(), 1)\n"
    "session.run(None, {session.get_inputs()[0].name: np.zeros((1, 64, 64, 3), np.uint8)})\n",
}


@pytest.mark.parametrize("room", sorted(OPENS))
def test_running_a_graph_leaves_nothing_in_the_home_of_its_user(tmp_path: Path, room: str) -> None:
    """ONNX Runtime notes each session there and sends the notes to its maker, unless it is told not to."""
    graph = tiny_package.brightness_graph(tmp_path / "graph.onnx")
    (tmp_path / "home").mkdir()
    program = f"import numpy as np\nfrom pathlib import Path\npath = Path({str(graph)!r})\n{OPENS[room]}"
    hidden = {"HOME", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"}
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, env={**environ, "HOME": str(tmp_path / "home")}
    )
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_every_folder_that_imports_the_runtime_silences_it_first() -> None:
    loud = set()
    for path in ROOT.glob("*/**/*.py"):
        folder = path.relative_to(ROOT).parts[0]
        if folder.startswith(".") or folder == "build":
            continue
        names = {
            name.name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        if "onnxruntime" in names:
            loud.add(folder)
    assert loud >= set(OPENS)
    for folder in loud:
        assert 'os.environ["ORT_DISABLE_TELEMETRY"] = "1"' in (ROOT / folder / "__init__.py").read_text(), folder
