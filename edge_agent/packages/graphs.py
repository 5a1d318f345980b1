# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file may hold, read from its bytes before a runtime touches it: no file beside it, no foreign operator.

A walk over the protobuf wire format, so that a station needs no `onnx` package; it reads no weights and copies nothing.
Whether the graph computes what it should is the self-test's, whether it eats the station is `packages.trial`'s.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from contracts.vocabulary import RefusalReason
from edge_agent.packages.trust import PackageRefused

# Operators of ONNX itself and those that every ONNX Runtime brings along.
_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_MAX_DEPTH: Final = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10

# onnx.proto: kind of message → field → kind of what it holds.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _FUNCTION, _SPARSE, _TENSOR = range(7)
_INSIDE: Final[dict[int, dict[int, int]]] = {
    _MODEL: {7: _GRAPH, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_NODE_DOMAIN: Final = 7
_FUNCTION_DOMAIN: Final = 10
_MODEL_FUNCTIONS: Final = 25
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14


def check_graph(path: Path) -> None:
    """Refuse a graph that would read another file or needs code that is not the runtime's.

    Raises:
        PackageRefused: UNREADABLE: external data, an operator of a foreign domain, or no protobuf.
    """
    if path.stat().st_size == 0:
        raise PackageRefused(RefusalReason.UNREADABLE, f"{path.name}: expected a graph, got an empty file")
    with path.open("rb") as file:
        # Not closed by hand: parts of it are still looked at while an error is on its way.
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        _walk(path.name, content, _MODEL, _DOMAINS | _own_domains(content), 0)
    except _NoProtobufError as error:
        msg = f"{path.name}: expected an ONNX graph, got something else ({error})"
        raise PackageRefused(RefusalReason.UNREADABLE, msg) from error


class _NoProtobufError(Exception):
    """The bytes are not what they should be."""


def _walk(name: str, content: memoryview, kind: int, domains: frozenset[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _NoProtobufError("nested too deep")
    inside = _INSIDE[kind]
    for number, value in _fields(content):
        if kind == _TENSOR and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            told = bytes(value[:120]).decode(errors="replace") if isinstance(value, memoryview) else ""
            msg = f"{name}: expected all weights inside the graph, got some in another file ({told!r})"
            raise PackageRefused(RefusalReason.UNREADABLE, msg)
        if kind == _NODE and number == _NODE_DOMAIN and (domain := _text(value)) not in domains:
            msg = f"{name}: expected operators of ONNX, got one of the domain {domain!r}: custom code is not loaded"
            raise PackageRefused(RefusalReason.UNREADABLE, msg)
        if number in inside:
            if not isinstance(value, memoryview):
                raise _NoProtobufError(f"field {number} is no message")
            _walk(name, value, inside[number], domains, depth + 1)


def _own_domains(content: memoryview) -> frozenset[str]:
    """Domains of functions that the model defines itself, of ONNX's operators in the end."""
    found = set()
    for number, value in _fields(content):
        if number == _MODEL_FUNCTIONS and isinstance(value, memoryview):
            found |= {_text(inner) for field, inner in _fields(value) if field == _FUNCTION_DOMAIN}
    return frozenset(found)


def _text(value: "memoryview | int") -> str:
    if not isinstance(value, memoryview):
        raise _NoProtobufError("a name is a number")
    return bytes(value[:256]).decode(errors="replace")


def _fields(content: memoryview) -> Iterator[tuple[int, "memoryview | int"]]:
    """Field number and value: a number, or the bytes of a message, text or packed list."""
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise _NoProtobufError("field 0")
        if wire == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(content, place)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _NoProtobufError(f"wire type {wire}")
        if length > end - place:
            raise _NoProtobufError("cut short")
        yield number, content[place : place + length]
        place += length


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if place + index >= len(content):
            raise _NoProtobufError("cut short")
        byte = content[place + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    raise _NoProtobufError("a number without an end")
