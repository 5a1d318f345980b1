# SPDX-License-Identifier: Apache-2.0
"""What a file or an environment says, as the type that an option has, and the bounds that its name implies.

Knows no option and reads nothing; `central.settings` does. Faults are worded as "expected X, got Y".
"""

import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from pydantic import ValidationError

from contracts.tiles import MOST_TILES, Tiles

_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def converted(hint: Any, raw: Any, *, is_text: bool) -> Any:
    """The value of an option of this type hint. `is_text`: from the environment, so a list is words with blanks.

    Raises:
        ValueError: it cannot be that.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    if origin is tuple:
        words = raw.split() if is_text else raw
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise ValueError(f"expected a list of words, got {raw!r}")
        return tuple(words)
    converters: dict[Any, Callable[[Any], Any]] = {
        bool: _boolean, int: _whole, float: _number, str: _text, Path: _path, Tiles: _tiles,
    }  # fmt: skip
    return converters[hint](raw)


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in _BOOLEANS:
        return _BOOLEANS[raw.lower()]
    raise ValueError(f"expected true or false, got {raw!r}")


def _whole(raw: Any) -> int:
    try:
        if isinstance(raw, (int, str)) and not isinstance(raw, bool):
            return int(raw)
    except ValueError:
        pass
    raise ValueError(f"expected a whole number, got {raw!r}")


def _number(raw: Any) -> float:
    try:
        if isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
            return float(raw)
    except ValueError:
        pass
    raise ValueError(f"expected a number, got {raw!r}")


def _text(raw: Any) -> str:
    if isinstance(raw, str):
        return raw
    raise ValueError(f"expected text, got {raw!r}")


def _path(raw: Any) -> Path:
    return Path(_text(raw))


def _tiles(raw: Any) -> Tiles:
    found = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", raw) if isinstance(raw, str) else None
    try:
        if found is not None:
            return Tiles(rows=int(found[1]), columns=int(found[2]))
    except ValidationError:
        pass
    raise ValueError(f"expected ROWSxCOLUMNS, such as 2x5, at most {MOST_TILES} tiles in all, got {raw!r}")


def bound_fault(name: str, value: Any) -> str | None:
    """What is wrong with a number, by what its option's name says it is; None: nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if name.endswith(("_share", "confidence", "_weight")) and not 0 <= value <= 1:
        return f"expected 0 … 1, got {value}"
    if name.endswith(("_s", "_ms", "_rows", "_messages", "_bytes", "threads", "_px", "canary")) and value <= 0:
        return f"expected more than 0, got {value}"
    return f"expected 0 or more, got {value}" if value < 0 else None
