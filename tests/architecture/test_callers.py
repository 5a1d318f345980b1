# SPDX-License-Identifier: Apache-2.0
"""Who calls a module of `models`, as its docstring says, is who imports it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "models").rglob("*.py")}
_CLAIM = re.compile(r"\b(?:Called|Used) by (.*?)(?:;|\.\s|\.$)", re.DOTALL)


def _imported() -> dict[str, set[str]]:
    """Of each module those that import it, or names of it, anywhere in their text."""
    importers: dict[str, set[str]] = {name: set() for name in FILES}
    for importer, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                for name in (node.module, *(f"{node.module}.{each.name}" for each in node.names)):
                    importers.get(name, set()).add(importer)
    return importers


IMPORTERS = _imported()
CLAIMS = [
    (module, name)
    for module, path in sorted(FILES.items())
    for claim in _CLAIM.findall(ast.get_docstring(ast.parse(path.read_text())) or "")
    for name in re.findall(r"`([a-z_.]+)`", claim)
]


@pytest.mark.parametrize(("module", "name"), CLAIMS)
def test_whom_a_module_names_as_its_caller_imports_it(module: str, name: str) -> None:
    beside = f"{module.rpartition('.')[0]}.{name}"
    callers = [
        each for each in IMPORTERS[module] for full in (beside, f"models.{name}") if f"{each}.".startswith(f"{full}.")
    ]
    assert callers, f"{module} says that {name} calls it; {sorted(IMPORTERS[module])} do"


def test_most_modules_say_who_calls_them() -> None:
    assert len({module for module, _ in CLAIMS}) > len(FILES) / 2
