# SPDX-License-Identifier: Apache-2.0
"""Reads single settings out of a TOML document and the environment, and collects every fault.

Knows no setting by name; `settings` does. Never stops at the first fault: a person who starts a station wants
the whole list. The environment wins over the file; keys that nobody asked for are faults too, because a
misspelt limit that is silently ignored is worse than none.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_MASK: Final = "********"


@dataclass(frozen=True)
class EffectiveValue:
    """One setting as it took effect."""

    key: str
    shown: str
    origin: str


class SettingsReader:
    """One pass over a document.

    Args:
        document: parsed TOML.
        environ: environment variables.
        prefix: of our variables; `broker.url` is `<prefix>BROKER_URL`.
        folder: relative paths are taken from here.
    """

    def __init__(self, document: Mapping[str, Any], environ: Mapping[str, str], *, prefix: str, folder: Path) -> None:
        self._document = document
        self._environ = environ
        self._prefix = prefix
        self._folder = folder
        self._asked: set[str] = set()
        self.faults: list[str] = []
        self.effective: list[EffectiveValue] = []

    def text(self, key: str, default: str | None = None, *, is_secret: bool = False) -> str:
        """A text. Without a default it must be given and not be empty."""
        value, origin = self._raw(key)
        if value is None:
            if default is None:
                self._fault(key, "expected a text, got nothing")
            value = default or ""
        if not isinstance(value, str) or (default is None and origin != "default" and not value):
            self._fault(key, f"expected a text, got {value!r}")
            value = default or ""
        self._note(key, _MASK if is_secret and value else repr(value), origin)
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of a few words."""
        value = self.text(key, default)
        if value not in choices and not (default is None and not value):
            self._fault(key, f"expected one of {', '.join(choices)}, got {value!r}")
        return value

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        """A number within bounds, both included."""
        value, origin = self._raw(key)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):  # reported below, as the text it is
                value = float(value)
        if value is None:
            value = default
        elif isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self._fault(key, f"expected a number {low:g} … {high:g}, got {value!r}")
            value = default
        self._note(key, str(int(value) if value == int(value) else value), origin)
        return float(value)

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number within bounds, both included."""
        value = self.number(key, default, low=low, high=high)
        if value != int(value):
            self._fault(key, f"expected a whole number, got {value!r}")
        return int(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Yes or no: true or false in the file; also 1 or 0 in a variable."""
        value, origin = self._raw(key)
        if isinstance(value, str):
            value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value)
        if value is None:
            value = default
        elif not isinstance(value, bool):
            self._fault(key, f"expected true or false, got {value!r}")
            value = default
        self._note(key, str(value).lower(), origin)
        return value

    def path(self, key: str, *, is_required: bool = True) -> Path | None:
        """A path; relative ones are taken from the settings file's folder."""
        value = self.text(key, None if is_required else "")
        return (self._folder / value).absolute() if value else None

    def whole_numbers(self, key: str, count: int) -> tuple[int, ...] | None:
        """A list of `count` whole numbers ≥ 0, or None when it is not given."""
        value, origin = self._raw(key)
        if value is None:
            return None
        is_right = isinstance(value, list) and len(value) == count
        if not is_right or any(isinstance(item, bool) or not isinstance(item, int) or item < 0 for item in value):
            self._fault(key, f"expected {count} whole numbers ≥ 0, got {value!r}")
            return None
        self._note(key, str(value), origin)
        return tuple(value)

    def names(self, key: str) -> list[str]:
        """Names of the sub-tables of a table."""
        self._asked.add(key)
        table = self._find(key)
        if table is None:
            return []
        if not isinstance(table, dict):
            self._fault(key, f"expected a table, got {table!r}")
            return []
        wrong = [name for name, value in table.items() if not isinstance(value, dict)]
        for name in wrong:
            self._asked.add(f"{key}.{name}")
            self._fault(f"{key}.{name}", f"expected a table [{key}.<name>], got {table[name]!r}")
        return [name for name in table if name not in wrong]

    def fault(self, key: str, text: str) -> None:
        """Note a fault that only the caller can see."""
        self._fault(key, text)

    def finish(self) -> None:
        """Note every key and variable that nobody asked for."""
        known = {self._variable(key) for key in self._asked}
        for key in sorted(_leaves(self._document)):
            if key not in self._asked:
                self._fault(key, "unknown setting")
        for name in sorted(self._environ):
            if name.startswith(self._prefix) and name not in known:
                self.faults.append(f"{name}: unknown variable")

    def _raw(self, key: str) -> tuple[Any, str]:
        self._asked.add(key)
        variable = self._variable(key)
        if variable in self._environ:
            return self._environ[variable], variable
        value = self._find(key)
        return value, "default" if value is None else "file"

    def _find(self, key: str) -> Any:
        node: Any = self._document
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return None
            node = node[part]
        return node

    def _variable(self, key: str) -> str:
        return self._prefix + key.replace(".", "_").replace("-", "_").upper()

    def _note(self, key: str, shown: str, origin: str) -> None:
        self.effective.append(EffectiveValue(key, shown, origin))

    def _fault(self, key: str, text: str) -> None:
        line = f"{key}: {text}"
        if line not in self.faults:
            self.faults.append(line)


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        keys += _leaves(value, f"{key}.") if isinstance(value, dict) else [key]
    return keys
