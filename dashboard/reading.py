# SPDX-License-Identifier: Apache-2.0
"""JSON into frozen dataclasses: a tolerant reader for what central answers.

Unknown fields are dropped, fields with a default may be missing, an unknown word of an enum is an error
that names the place. Does no HTTP. Used by `client` alone.
"""

import types
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


class ShapeError(ValueError):
    """The answer is not of the expected shape: central and dashboard are of different versions."""


def read(shape: type[_T], value: object) -> _T:
    """Build `shape` from parsed JSON.

    Raises:
        ShapeError: says where it stopped, what was expected and what came.
    """
    return cast("_T", _build(shape, value, shape.__name__))


@cache
def _hints(shape: Hashable) -> dict[str, Any]:
    return get_type_hints(shape)


def _build(kind: Any, value: object, where: str) -> Any:
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        return _optional(kind, value, where)
    if origin is tuple:
        return tuple(_build(get_args(kind)[0], item, where) for item in _expect(list, value, where))
    if origin is dict:
        key, item = get_args(kind)
        pairs = _expect(dict, value, where).items()
        return {_build(key, k, where): _build(item, v, f"{where}.{k}") for k, v in pairs}
    if is_dataclass(kind):
        return _record(cast("type[Any]", kind), value, where)
    return _plain(kind, value, where)


def _optional(kind: Any, value: object, where: str) -> Any:
    if value is None:
        return None
    (inner,) = [arm for arm in get_args(kind) if arm is not types.NoneType]
    return _build(inner, value, where)


def _record(kind: type[Any], value: object, where: str) -> Any:
    body = _expect(dict, value, where)
    hints = _hints(cast("Hashable", kind))
    given: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in body:
            given[field.name] = _build(hints[field.name], body[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ShapeError(f"{where}: expected a field {field.name!r}, got none")
    return kind(**given)


def _plain(kind: Any, value: object, where: str) -> Any:
    if kind is Any:
        return value
    if kind is datetime:
        return _time(value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError as error:
            raise ShapeError(f"{where}: expected a {kind.__name__}, got {value!r}") from error
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ShapeError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {value!r}")


def _time(value: object, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ShapeError(f"{where}: expected a time, got {value!r}") from error
    if at.tzinfo is None:
        raise ShapeError(f"{where}: expected a time with an offset, got {value!r}")
    return at.astimezone(UTC)


def _expect(kind: type[_T], value: object, where: str) -> _T:
    if isinstance(value, kind):
        return value
    raise ShapeError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")


def read_list(shape: type[_T], value: object) -> tuple[_T, ...]:
    """Build a tuple of `shape` from a parsed JSON array.

    Raises:
        ShapeError: not an array, or an item of another shape.
    """
    items = _expect(list, value, f"list of {shape.__name__}")
    return tuple(read(shape, item) for item in items)


def text_of(body: object, key: str) -> str:
    """A text of a JSON object, empty when there is none. For error bodies, which may be anything."""
    value = body.get(key) if isinstance(body, Mapping) else None
    return value if isinstance(value, str) else ""
