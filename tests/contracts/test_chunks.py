# SPDX-License-Identifier: Apache-2.0
"""Graph files are cut at their tensors; nothing that is cut is lost, whatever the bytes are."""

import mmap
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import chunks
from contracts.chunks import LEAST_TENSOR_BYTES, MOST_CHUNK_BYTES, MOST_CHUNKS, cut, digests
from contracts.manifest import FileChunk, FileRole, PackageFile
from tests.fakes.packages import weighted_graph

RNG = np.random.default_rng(3)
TRUNK = RNG.normal(size=(64, 100)).astype(np.float32)


def pieces(content: bytes) -> list[bytes]:
    places = np.cumsum([0, *cut(content)])
    return [content[begin:end] for begin, end in pairwise(places)]


def test_each_large_tensor_is_a_chunk_of_its_own() -> None:
    bank = RNG.normal(size=(300, 10)).astype(np.float32)
    found = pieces(weighted_graph({"trunk": TRUNK, "bank": bank}))
    assert TRUNK.tobytes() in found
    assert bank.tobytes() in found


def test_small_tensors_stay_in_the_bytes_around_them() -> None:
    small = RNG.integers(0, 256, LEAST_TENSOR_BYTES - 1, dtype=np.uint8)
    assert len(cut(weighted_graph({"small": small}))) == 1
    assert len(cut(weighted_graph({"large": np.append(small, small[:1])}))) == 3


def test_a_changed_tensor_changes_its_own_chunk_alone() -> None:
    one, other = (weighted_graph({"trunk": TRUNK, "bank": RNG.normal(size=(300, 10))}) for _ in range(2))
    known = set(digests(one, cut(one)))
    assert [size for size, each in zip(cut(other), digests(other, cut(other)), strict=True) if each not in known] == [
        300 * 10 * 8
    ]


def test_long_tensors_are_cut_from_their_own_beginning() -> None:
    bank = RNG.integers(0, 256, MOST_CHUNK_BYTES + 5000, dtype=np.uint8)
    found = pieces(weighted_graph({"trunk": TRUNK, "bank": bank}))
    assert bank[:MOST_CHUNK_BYTES].tobytes() in found
    assert bank[MOST_CHUNK_BYTES:].tobytes() in found


def test_tensors_inside_nodes_are_found_too() -> None:
    from onnx import helper, numpy_helper  # noqa: PLC0415 - this test alone makes a graph by hand

    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(TRUNK))
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    assert TRUNK.tobytes() in pieces(model.SerializeToString())


@given(st.binary(max_size=4000))
def test_any_bytes_are_cut_without_a_loss(content: bytes) -> None:
    assert b"".join(pieces(content)) == content


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=8))
def test_a_damaged_graph_is_cut_without_a_loss(place: int, damage: bytes) -> None:
    graph = bytearray(weighted_graph({"trunk": TRUNK}))
    graph[place : place + len(damage)] = damage
    assert sum(cut(bytes(graph))) == len(graph)


def test_a_file_of_very_many_tensors_is_cut_into_few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MOST_CHUNKS", 4)
    content = weighted_graph({f"t{number}": RNG.normal(size=400) for number in range(5)})
    assert len(cut(content)) <= 4
    assert MOST_CHUNKS * 100 * 4 < 1024 * 1024


def test_a_mapped_file_is_cut_as_its_bytes_are(tmp_path: Path) -> None:
    content = weighted_graph({"trunk": TRUNK})
    (tmp_path / "graph").write_bytes(content)
    with (tmp_path / "graph").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert cut(mapped) == cut(content)


def test_chunks_that_do_not_make_up_the_file_are_refused() -> None:
    with pytest.raises(ValidationError, match="expected chunks of 10 bytes in all, got 9"):
        PackageFile(
            name="a.onnx",
            role=FileRole.MODEL,
            sha256="0" * 64,
            size_bytes=10,
            chunks=[FileChunk(size_bytes=9, sha256="0" * 64)],
        )
