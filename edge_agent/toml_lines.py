# SPDX-License-Identifier: Apache-2.0
"""In which line of a TOML text each key stands. Pure.

Parses no value and finds no fault: `tomllib` has read the text before, so it is known to be right TOML. Tables, dotted
keys and inline tables are told alike by their full dotted name; what stands inside an array has the array's line. Used
by `settings`, so that a fault can name a line.
"""

import re
from typing import Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_BLANK: Final = " \t"
_SPACE: Final = " \t\r\n"
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def lines_of_keys(text: str) -> dict[str, int]:
    """Full dotted name → line, counted from 1; tables have the line in which they are first named."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[str, int] = {}

    def scan(self) -> dict[str, int]:
        table: list[str] = []
        while True:
            self._skip(_SPACE)
            if self._at >= len(self._text):
                return self._lines
            if self._text[self._at] == "[":
                self._at += 2 if self._text.startswith("[[", self._at) else 1
                table = self._key()
                self._note(table)
                self._at = self._end_of_line()
            else:
                self._pair(table)

    def _pair(self, table: list[str]) -> None:
        key = [*table, *self._key()]
        self._note(key)
        self._skip(_BLANK)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        if self._text[self._at : self._at + 1] == "{":
            self._inline(key)
        else:
            self._value(",}\n")

    def _inline(self, table: list[str]) -> None:
        self._at += 1
        while True:
            self._skip(_SPACE + ",")
            if self._at >= len(self._text) or self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(table)

    def _value(self, ends: str) -> None:
        """Go past one value; brackets inside it are balanced, texts and comments are stepped over."""
        depth = 0
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign in "\"'":
                self._string()
                continue
            if sign == "#":
                self._at = self._end_of_line()
                continue
            if depth == 0 and sign in ends:
                return
            depth += (sign in "[{") - (sign in "]}")
            self._at += 1

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            if self._text[self._at : self._at + 1] in ('"', "'"):
                parts.append(self._string())
            elif (found := _BARE.match(self._text, self._at)) is not None:
                parts.append(found.group())
                self._at = found.end()
            else:
                self._at += 1  # cannot be in right TOML; never stand still
            self._skip(_BLANK)
            if self._text[self._at : self._at + 1] != ".":
                return parts
            self._at += 1

    def _string(self) -> str:
        """Go past a text and return it; escapes by code point are left as they are written."""
        quote = self._text[self._at]
        fence = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._at += len(fence)
        found = ""
        while self._at < len(self._text) and not self._text.startswith(fence, self._at):
            sign = self._text[self._at]
            if sign == "\\" and quote == '"':
                sign = self._text[self._at + 1 : self._at + 2]
                found += _ESCAPED.get(sign, sign)
                self._at += 2
                continue
            found += sign
            self._at += 1
        self._at += len(fence)
        while len(fence) == 3 and self._text[self._at : self._at + 1] == quote:
            self._at += 1  # a text of several lines may end in quotes of its own
        return found

    def _skip(self, signs: str) -> None:
        """Go past blanks, and past comments where lines may end."""
        while self._at < len(self._text):
            if self._text[self._at] in signs:
                self._at += 1
            elif self._text[self._at] == "#" and "\n" in signs:
                self._at = self._end_of_line()
            else:
                return

    def _end_of_line(self) -> int:
        found = self._text.find("\n", self._at)
        return len(self._text) if found < 0 else found

    def _note(self, key: list[str]) -> None:
        line = self._text.count("\n", 0, self._at) + 1
        for count in range(1, len(key) + 1):
            self._lines.setdefault(".".join(key[:count]), line)
