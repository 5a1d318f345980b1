# SPDX-License-Identifier: Apache-2.0
"""Settings files as TOML text: plain values, lists of plain values, nested tables.

The standard library reads TOML but does not write it. Not a general writer: no dates, no tables in lists.
Used by `plant.processes.stations` and `plant.processes.site`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


def toml_text(table: Mapping[str, Any]) -> str:
    """The table as TOML. Keys whose value is None are left out.

    Raises:
        TypeError: a value that is no text, number, truth value, list or table; names its key.
    """
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(key)} = {_value(key, value)}" for key, value in table.items() if not _is_table(value)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = (*path, key)
            lines += ["", f"[{'.'.join(_key(each) for each in inner)}]", *_lines(value, inner)]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or value is None


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else json.dumps(key)


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        # JSON strings are TOML basic strings, apart from DEL, which no path or token holds.
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(key, each) for each in value) + "]"
    msg = f"{key}: cannot be written as TOML: {type(value).__name__}"
    raise TypeError(msg)
