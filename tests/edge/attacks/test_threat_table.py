# SPDX-License-Identifier: Apache-2.0
"""`docs/threats.md` names every attack test, and none that is not there."""

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
TABLE = FOLDER.parents[2] / "docs" / "threats.md"
# The other side: what a station must go on taking. No attacks, so not in the table.
_ALLOWED = {
    "test_station_follows_every_exchange_of_keys_and_loses_nothing",
    "test_assignment_under_an_exchanged_key_is_followed_as_soon_as_the_root_is",
}
_OF_THE_TABLE = Path(__file__).name


def attack_tests() -> set[str]:
    found = set()
    for path in FOLDER.glob("test_*.py"):
        if path.name != _OF_THE_TABLE:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"}
    return found - _ALLOWED


def test_every_row_names_a_test_that_exists_and_every_attack_has_a_row() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(test_\w+)`", line) for line in rows]
    assert all(len(each) == 1 for each in named), [row for row, each in zip(rows, named, strict=True) if len(each) != 1]
    names = [each[0] for each in named]
    assert len(set(names)) == len(names)
    assert set(names) == attack_tests()
