# SPDX-License-Identifier: Apache-2.0
"""The walls of the house, as tests: import rules, file sizes, names, schemas.

The import rules themselves stand in `pyproject.toml` under `tool.importlinter`.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import schemas

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("contracts", "edge_agent", "central", "models", "dashboard", "plant")
MAX_LINES = 400
DRAWERS = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc", "info", "process"}


def source_files() -> list[Path]:
    folders = (*ROOMS, "tests", "benchmarks")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_import_rules_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_longer_than_400_lines() -> None:
    too_long = {
        str(path.relative_to(ROOT)): count
        for path in source_files()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not too_long


def test_every_file_names_its_licence_first() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for path in source_files()
        if not path.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: Apache-2.0")
    ]
    assert not bare


def test_no_module_is_a_drawer() -> None:
    assert not [str(path.relative_to(ROOT)) for path in source_files() if path.stem in DRAWERS]


def test_environment_is_read_in_settings_only() -> None:
    # Handing the whole environment to a reader or a child is no reading of it.
    pattern = re.compile(r"os\.(getenv|environ(\[|\.))")
    readers = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "settings.py" and pattern.search(_without_silence(path.read_text(encoding="utf-8")))
    ]
    assert not readers


def _without_silence(text: str) -> str:
    """Without the one line that sets a variable, and reads none: it must stand before an import."""
    return text.replace('os.environ["ORT_DISABLE_TELEMETRY"] = "1"\n', "")


def test_top_level_folders_are_the_agreed_ones() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not listed:
        pytest.skip("not a git checkout: nothing tells which folders belong to the project")
    folders = {name.split("/", maxsplit=1)[0] for name in listed if "/" in name}
    assert folders <= {*ROOMS, "tests", "benchmarks", "docker", "docs", ".ci"}


def test_schemas_in_docs_are_those_of_the_contracts() -> None:
    assert schemas.stale() == []


def test_stale_schema_is_noticed(tmp_path: Path) -> None:
    for name in schemas.SHAPES:
        (tmp_path / f"{name}.json").write_text(schemas.render(name), encoding="utf-8")
    (tmp_path / "assign-package.json").write_text("{}", encoding="utf-8")
    (tmp_path / "left-over.json").write_text("{}", encoding="utf-8")
    assert schemas.stale(tmp_path) == ["assign-package", "left-over"]
