# SPDX-License-Identifier: Apache-2.0
"""The folders of `models` know each other in one direction only."""

import ast
from pathlib import Path

import models

ROOM = Path(models.__file__).parent
ORDER = (
    "data",
    "graphs",
    "detectors",
    "limits",
    "packages",
    "measuring",
    "reporting",
    "distributed",
    "training",
    "cleaning",
)
# What is said of them in `models`.
MAY_LOOK_DOWN = {("graphs/export.py", "detectors"), ("measuring", "reporting")}


def imported(path: Path) -> set[str]:
    """Folders of `models` that a module imports from, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in found if name.startswith("models.")} & set(ORDER)


def test_every_module_stands_in_a_folder_that_is_named() -> None:
    assert {path.parent.name for path in ROOM.glob("*/*.py")} == set(ORDER)
    told = models.__doc__ or ""
    places = [told.index(f"| `{folder}` |") for folder in ORDER]
    assert places == sorted(places)


def test_a_folder_imports_only_from_those_before_it() -> None:
    wrong = [
        f"{path.relative_to(ROOM)} imports {other}"
        for path in ROOM.glob("*/*.py")
        for other in imported(path)
        if ORDER.index(other) > ORDER.index(path.parent.name)
        and not MAY_LOOK_DOWN & {(path.relative_to(ROOM).as_posix(), other), (path.parent.name, other)}
    ]
    assert wrong == []
