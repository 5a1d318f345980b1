# SPDX-License-Identifier: Apache-2.0
import hashlib
from itertools import pairwise
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from central.errors import DigestError, OffsetError, StoreError
from central.store.blobs import Blobs

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_can_be_read_by_its_digest(blobs: Blobs) -> None:
    assert blobs.put(CONTENT) == SHA256
    assert blobs.put(CONTENT) == SHA256
    assert (blobs.read(SHA256), blobs.size(SHA256)) == (CONTENT, len(CONTENT))
    assert blobs.local_path(SHA256, Path("unused")).read_bytes() == CONTENT


def test_unknown_blob_is_named_in_the_error(blobs: Blobs) -> None:
    assert not blobs.has(SHA256)
    with pytest.raises(StoreError, match=SHA256):
        blobs.read(SHA256)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=6))
def test_upload_can_be_cut_anywhere_and_goes_on_after_a_restart(tmp_path: Path, cuts: list[int]) -> None:
    folder = tmp_path / "blobs"
    bounds = [0, *sorted(cuts), len(CONTENT)]
    for start, end in pairwise(bounds):
        # A new object each time: nothing of an upload lives in memory.
        store = Blobs(folder.as_uri(), tmp_path / "uploads")
        assert store.upload_offset(SHA256) == start
        assert not store.has(SHA256)
        store.append(SHA256, start, CONTENT[start:end], len(CONTENT))
    store.finish(SHA256)
    assert store.read(SHA256) == CONTENT
    assert _files(tmp_path / "uploads") == []
    store.delete(SHA256)


def test_wrong_offset_says_where_to_go_on(blobs: Blobs) -> None:
    blobs.append(SHA256, 0, CONTENT[:100], len(CONTENT))
    with pytest.raises(OffsetError) as caught:
        blobs.append(SHA256, 50, CONTENT[50:], len(CONTENT))
    assert caught.value.expected == 100
    assert blobs.upload_offset(SHA256) == 100


def test_altered_bytes_never_reach_their_place(blobs: Blobs, tmp_path: Path) -> None:
    blobs.append(SHA256, 0, CONTENT[:-1] + b"!", len(CONTENT))
    with pytest.raises(DigestError, match="start again from 0"):
        blobs.finish(SHA256)
    assert not blobs.has(SHA256)
    assert blobs.upload_offset(SHA256) == 0
    assert _files(tmp_path) == []


def test_more_bytes_than_promised_are_refused_at_once(blobs: Blobs) -> None:
    """Endless data: the promise bounds what is taken."""
    with pytest.raises(DigestError, match="at least"):
        blobs.append(SHA256, 0, CONTENT, 100)
    assert blobs.upload_offset(SHA256) == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "/..", ""])
def test_nothing_but_a_digest_becomes_a_path(blobs: Blobs, name: str) -> None:
    for call in (blobs.size, blobs.read, blobs.upload_offset, blobs.delete):
        with pytest.raises(StoreError, match="SHA-256"):
            call(name)


def test_object_store_serves_the_same_contract(tmp_path: Path) -> None:
    store = Blobs("memory://sightline-test", tmp_path / "uploads")
    try:
        store.append(SHA256, 0, CONTENT, len(CONTENT))
        store.finish(SHA256)
        assert store.read(SHA256) == CONTENT
        # What only takes paths gets a local copy.
        assert store.local_path(SHA256, tmp_path / "cache").read_bytes() == CONTENT
        store.delete(SHA256)
        assert not store.has(SHA256)
        with pytest.raises(StoreError):
            store.read(SHA256)
    finally:
        fsspec.filesystem("memory").store.clear()


def test_unknown_store_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="fsspec URL"):
        Blobs("teleport://somewhere", tmp_path)
