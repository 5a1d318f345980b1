# SPDX-License-Identifier: Apache-2.0
"""Reads single settings out of a TOML document and the environment, and collects every fault.

Knows no setting by name; `settings` does. Never stops at the first fault: a person who starts a station wants
the whole list. The environment wins over the file; keys that nobody asked for are faults too, because a
misspelt limit that is silently ignored is worse than none.
"""

import contextlib
from collections.abc import Iterable, Mapping
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
        lines: in which line of the file each key stands, by full dotted name; faults name it.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        environ: Mapping[str, str],
        *,
        prefix: str,
        folder: Path,
        lines: Mapping[str, int] | None = None,
    ) -> None:
        self._document = document
        self._lines = lines or {}
        self._environ = environ
        self._prefix = prefix
        self._folder = folder
        self._asked: set[str] = set()
        self.faults: list[str] = []
        self.effective: list[EffectiveValue] = []

    @property
    def folder(self) -> Path:
        """Relative paths are taken from here."""
        return self._folder

    def text(self, key: str, default: str | None = None, *, is_secret: bool = False) -> str:
        """A text. Without a default it must be given and not be empty."""
        value, origin = self._raw(key)
        if value is None:
            if default is None:
                self._fault(key, "expected a text, got nothing")
            value = default or ""
        if not isinstance(value, str) or (default is None and origin != "default" and not value):
            # A password of digits without quotes is still a password.
            shown = f"a {type(value).__name__}" if is_secret and value != "" else repr(value)
            self._fault(key, f"expected a text, got {shown}")
            value = default or ""
        self._note(key, _MASK if is_secret and value else repr(value), origin)
        return value

    def address(self, key: str, default: str | None = None) -> str:
        """A whole number or a text, as text: the address of something in a line controller."""
        value, _ = self._raw(key)
        if isinstance(value, int) and not isinstance(value, bool):
            self._note(key, str(value), "file")
            return str(value)
        return self.text(key, default)

    def words(self, key: str, choices: tuple[str, ...], default: str) -> tuple[str, ...]:
        """One or more of a few words: a text, or a list of texts; in a variable with commas between them."""
        value, origin = self._raw(key)
        if value is None:
            value = default
        found = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
        if (
            not isinstance(found, list)
            or not found
            or any(not isinstance(word, str) or word not in choices for word in found)
            or len(set(found)) < len(found)
        ):
            self._fault(key, f"expected one or more of {', '.join(choices)}, each once, got {value!r}")
            return (default,)
        self._note(key, repr(found[0]) if len(found) == 1 else str(found), origin)
        return tuple(found)

    def is_given(self, key: str) -> bool:
        """Whether the file or a variable says something on this key. Does not count as asking for it."""
        return self._variable(key) in self._environ or self._find(key) is not None

    def refuse(self, keys: Iterable[str], why: str) -> None:
        """Note each of these keys that is given as a fault: it would be ignored."""
        for key in keys:
            if self.is_given(key):
                self._asked.add(key)
                self._fault(key, why)

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

    def optional_number(self, key: str, *, low: float, high: float) -> float | None:
        """A number within bounds, both included, or None when it is not given."""
        return self.number(key, low, low=low, high=high) if self.is_given(key) else None

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
        return self.absolute(value) if value else None

    def absolute(self, path: str) -> Path:
        """A path as `path` gives it, of a text that has been read already."""
        return (self._folder / path).absolute()

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

    def points(self, key: str, least: int, most: int) -> tuple[tuple[int, int], ...] | None:
        """A list of `least` … `most` points [x, y] of whole numbers ≥ 0, or None when it is not given."""
        value, origin = self._raw(key)
        if value is None:
            return None
        is_right = isinstance(value, list) and least <= len(value) <= most
        if not is_right or not all(_is_point(item) for item in value):
            self._fault(key, f"expected {least} … {most} points [x, y] of whole numbers ≥ 0, got {value!r}")
            return None
        self._note(key, str(value), origin)
        return tuple((x, y) for x, y in value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when it is not given."""
        value, origin = self._raw(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self._fault(key, f"expected a list of texts, got {value!r}")
            return ()
        self._note(key, str(value), origin)
        return tuple(value)

    def texts_by_name(self, key: str) -> dict[str, str]:
        """A table of texts, `{ 1 = "ring" }`; in a variable `1=ring, 2=gear`. Empty when it is not given."""
        value, origin = self._raw(key)
        if isinstance(value, str) and origin != "file":
            pairs = [part.partition("=") for part in value.split(",")]
            value = {name.strip(): text.strip() for name, equals, text in pairs if equals}
            value = value if len(value) == len(pairs) else pairs
        if value is None:
            return {}
        if isinstance(in_file := self._find(key), dict):
            self._asked.update(f"{key}.{leaf}" for leaf in _leaves(in_file))
        if not isinstance(value, dict) or not all(isinstance(text, str) and text for text in value.values()):
            self._fault(key, f"expected a table of texts, got {value!r}")
            return {}
        self._note(key, "{ " + ", ".join(f'"{name}" = "{text}"' for name, text in value.items()) + " }", origin)
        return dict(value)

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
        line = f"{key}: {text}{self._place(key)}"
        if line not in self.faults:
            self.faults.append(line)

    def _place(self, key: str) -> str:
        """Where a person finds what is wrong: the variable that won, else the line, else the line of its table."""
        if (variable := self._variable(key)) in self._environ:
            return f" (variable {variable})"
        if key in self._lines:
            return f" (line {self._lines[key]})"
        table = key.rpartition(".")[0]
        return f" (in [{table}], line {self._lines[table]})" if table in self._lines else ""


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        keys += _leaves(value, f"{key}.") if isinstance(value, dict) else [key]
    return keys


def _is_point(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value)
    )
