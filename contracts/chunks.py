# SPDX-License-Identifier: Apache-2.0
"""Where a graph file is cut into chunks: at the borders of its tensors, so that equal tensors are equal chunks.

Both ends cut alike: the trainer writes the chunk list into the manifest, the station cuts the files it already has.
Reads no file and trusts nothing: a file that is no ONNX graph is cut into equal pieces, and a wrong list costs bytes,
never trust, since the whole file's digest decides. The field numbers are those of onnx.proto3 (stable by its own rule).
"""

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Protocol

# A tensor below this is left in the bytes around it: naming it would cost more than sending it.
LEAST_TENSOR_BYTES: Final = 1024
# A longer chunk is cut again, so that one changed or missing byte costs no more than this.
MOST_CHUNK_BYTES: Final = 1024 * 1024
# Beyond this many a file is cut into equal pieces: the manifest that lists them has a bound.
MOST_CHUNKS: Final = 1500
_MOST_DEPTH: Final = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message → field → message inside it; "" is the content of a tensor.
_SHAPES: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    # float_data, int32_data, int64_data, raw_data, double_data, uint64_data
    "tensor": {4: "", 5: "", 7: "", 9: "", 10: "", 11: ""},
}


class Content(Protocol):
    """Bytes that can be looked at in place: `bytes`, or an open `mmap`."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> int: ...


class _NotAGraphError(Exception):
    """The bytes are no protobuf message of the expected shape."""


def cut(content: Content) -> list[int]:
    """Sizes of the chunks of a graph file, in order; their sum is its length. Deterministic.

    Each tensor of at least `LEAST_TENSOR_BYTES` is a chunk of its own, what lies between two of them is one too; longer
    ones are cut at every `MOST_CHUNK_BYTES` from their beginning.
    """
    total = len(content)
    try:
        tensors = list(_tensors(content, 0, total, "model", 0))
    except _NotAGraphError:
        tensors = []
    borders = [0, *(border for begin, end in tensors for border in (begin, end)), total]
    sizes = [
        min(MOST_CHUNK_BYTES, end - place)
        for begin, end in pairwise(borders)
        for place in range(begin, end, MOST_CHUNK_BYTES)
    ]
    if len(sizes) <= MOST_CHUNKS:
        return sizes
    piece = max(MOST_CHUNK_BYTES, -(-total // MOST_CHUNKS))
    return [min(piece, total - place) for place in range(0, total, piece)]


def digests(content: bytes, sizes: list[int]) -> list[str]:
    """Hex SHA-256 of each chunk."""
    place, found = 0, []
    for size in sizes:
        found.append(hashlib.sha256(content[place : place + size]).hexdigest())
        place += size
    return found


def _tensors(content: Content, begin: int, end: int, shape: str, depth: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the contents of all large tensors, rising."""
    if depth > _MOST_DEPTH:
        raise _NotAGraphError
    fields, place = _SHAPES[shape], begin
    while place < end:
        key, place = _varint(content, place, end)
        wire = key & 7
        if wire == _BYTES:
            length, place = _varint(content, place, end)
            if length > end - place:
                raise _NotAGraphError
            inside = fields.get(key >> 3)
            if inside:
                yield from _tensors(content, place, place + length, inside, depth + 1)
            elif inside is not None and length >= LEAST_TENSOR_BYTES:
                yield place, place + length
            place += length
        elif wire == _VARINT:
            _, place = _varint(content, place, end)
        elif wire in (_FIXED64, _FIXED32):
            place += 8 if wire == _FIXED64 else 4
        else:
            raise _NotAGraphError
    if place != end:
        raise _NotAGraphError


def _varint(content: Content, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
    raise _NotAGraphError
