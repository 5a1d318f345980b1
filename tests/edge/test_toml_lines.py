# SPDX-License-Identifier: Apache-2.0
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import SettingsError
from edge_agent.settings import load_settings
from edge_agent.toml_lines import lines_of_keys
from tests.edge.test_settings import WHOLE

TRICKY = '''# site = "in a comment"
site = "a # no comment = 1" # one
broker.url = 'x'
"odd key".inner = 1

[source] # the camera
kind = """
[not.a.table]
key = 1
"""
roi = [
  1, # = 2
  { inside = 3 },
]
[ recipe . "Big Ring" ]
budget_ms = { infer = 12, "act.uate" = { deep = 1 }, last = "}" }
deadline_ms = 5
[[list]]
name = 1
'''


def test_tables_dotted_keys_and_inline_tables_are_told_alike_by_line() -> None:
    assert tomllib.loads(TRICKY)
    assert lines_of_keys(TRICKY) == {
        "site": 2,
        "broker": 3,
        "broker.url": 3,
        "odd key": 4,
        "odd key.inner": 4,
        "source": 6,
        "source.kind": 7,
        "source.roi": 11,
        "recipe": 15,
        "recipe.Big Ring": 15,
        "recipe.Big Ring.budget_ms": 16,
        "recipe.Big Ring.budget_ms.infer": 16,
        "recipe.Big Ring.budget_ms.act.uate": 16,
        "recipe.Big Ring.budget_ms.act.uate.deep": 16,
        "recipe.Big Ring.budget_ms.last": 16,
        "recipe.Big Ring.deadline_ms": 17,
        "list": 18,
        "list.name": 19,
    }


LITERAL = st.sampled_from(
    ['"te\\"xt"', "'#'", "1", "[1, 2]", '["]", 3]', "[\n1,\n]", "{ x = 1, y = '}' }", '"""a\n"b"""']
)


@given(st.lists(st.tuples(st.sampled_from(["k", '"q"', "a.b", "'l'.m"]), LITERAL, st.booleans()), max_size=8))
def test_every_key_that_tomllib_reads_has_the_line_in_which_it_was_written(
    pairs: list[tuple[str, str, bool]],
) -> None:
    text, expected = "", {}
    # Behind the first table a dotted key would belong to it.
    for number, (key, literal, is_table) in enumerate(sorted(pairs, key=lambda pair: pair[2])):
        text += "# note\n"
        expected[f"t{number}.{key}".replace('"', "").replace("'", "")] = text.count("\n") + 1 + is_table
        text += f"[t{number}]\n{key} = {literal}\n" if is_table else f"t{number}.{key} = {literal}\n"
    document: dict[str, Any] = tomllib.loads(text)
    found = lines_of_keys(text)
    assert {key: found[key] for key in expected} == expected
    assert set(document) <= set(found)


@pytest.mark.parametrize(
    ("old", "new", "environ", "told"),
    [
        ("mqtt://broker.local:1883", "http://x", {}, "(line 8)"),
        ("deadline_ms = 250", "deadline_msec = 250", {}, "(line 27)"),
        ('token = "hunter3"', "", {}, "(in [central], line 12)"),
        ("budget_ms = { infer = 12", "budget_ms = { infer = -1", {}, "(line 28)"),
        ("", "", {"SIGHTLINE_EDGE_BROKER_KEEPALIVE_S": "0"}, "(variable SIGHTLINE_EDGE_BROKER_KEEPALIVE_S)"),
    ],
)
def test_fault_names_its_line_or_the_variable_that_won(
    tmp_path: Path, old: str, new: str, environ: dict[str, str], told: str
) -> None:
    path = tmp_path / "station.toml"
    path.write_text(WHOLE.replace(old, new) if old else WHOLE)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ)
    assert any(told in fault for fault in caught.value.faults), caught.value.faults


def test_secret_that_is_no_text_is_not_shown_in_its_fault(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(WHOLE.replace('password = "hunter2"', "password = 123456"))
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert "broker.password" in str(caught.value)
    assert "123456" not in str(caught.value)
