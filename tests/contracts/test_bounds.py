# SPDX-License-Identifier: Apache-2.0
"""Whole numbers that come in are bounded: each fits a 64-bit column, with room to add one."""

import importlib
import json
import pkgutil
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import central.api
import contracts
from central.api.written import Written
from contracts.reports import PackageStatus

_OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"


def is_unbounded(annotation: Any, metadata: typing.Sequence[Any]) -> bool:
    """Whether an annotation holds an int, at any depth, that lacks a lower or an upper bound."""
    if annotation is int:
        flat = [each for item in metadata for each in (getattr(item, "metadata", None) or [item])]
        has_most = any(getattr(each, word, None) is not None for each in flat for word in ("le", "lt"))
        has_least = any(getattr(each, word, None) is not None for each in flat for word in ("ge", "gt"))
        return not (has_most and has_least)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return is_unbounded(inner[0], [*metadata, *inner[1:]])
    if origin in (typing.Union, types.UnionType):
        return any(is_unbounded(each, metadata) for each in inner)
    return any(is_unbounded(each, []) for each in inner)


def models() -> Iterator[type[BaseModel]]:
    """Every shape of the contracts, and every request body of central."""
    for package, base in ((contracts, BaseModel), (central.api, Written)):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for each in vars(module).values():
                if isinstance(each, type) and issubclass(each, base) and each.__module__ == module.__name__:
                    yield each


def test_every_whole_number_of_a_message_or_a_request_body_has_bounds() -> None:
    checked = list(models())
    assert len(checked) > 100
    unbounded = [
        f"{model.__module__}.{model.__name__}.{name}"
        for model in checked
        for name, info in model.model_fields.items()
        if is_unbounded(info.annotation, info.metadata)
    ]
    assert unbounded == []


def test_every_whole_number_of_a_path_query_or_header_has_bounds() -> None:
    paths = json.loads(_OPENAPI.read_text())["paths"]
    asked = [
        (path, each["name"], kind)
        for path, methods in paths.items()
        for operation in methods.values()
        for each in operation.get("parameters", [])
        for kind in (each["schema"], *each["schema"].get("anyOf", []))
        if kind.get("type") == "integer"
    ]
    assert len(asked) > 20
    assert [(path, name) for path, name, kind in asked if not {"minimum", "maximum"} <= kind.keys()] == []


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**63, -1])
def test_package_status_with_a_number_that_nobody_could_give_is_no_message(number: int) -> None:
    said = {"station": {"site": "p", "line": "l", "station": "s"}, "at": "2026-01-01T00:00:00Z"}
    with pytest.raises(ValidationError, match="assignment_number"):
        PackageStatus.model_validate({**said, "assignment_number": number})
