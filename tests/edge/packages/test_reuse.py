# SPDX-License-Identifier: Apache-2.0
"""What is on the disk is offered only while it is what it was."""

from pathlib import Path

import numpy as np
import pytest

from contracts.manifest import FileChunk
from contracts.vocabulary import Variant
from edge_agent.packages.reuse import LocalFiles
from tests.fakes.packages import BuiltPackage, build_package, weighted_graph

WEIGHTS = np.random.default_rng(4).normal(size=(50, 100)).astype(np.float32)


@pytest.fixture(name="package")
def _package(tmp_path: Path) -> BuiltPackage:
    return build_package(tmp_path / "built", graphs={Variant.FP32: weighted_graph({"weights": WEIGHTS})})


def chunks_of(package: BuiltPackage) -> list[FileChunk]:
    return [chunk for file in package.manifest.files for chunk in file.chunks]


def test_chunks_of_a_package_on_disk_are_found(package: BuiltPackage) -> None:
    wanted = chunks_of(package)
    local = LocalFiles([package.folder], wanted)
    assert WEIGHTS.tobytes() in [local.chunk(chunk) for chunk in wanted]


def test_chunk_that_was_altered_after_it_was_found_is_not_given_out(package: BuiltPackage) -> None:
    wanted = chunks_of(package)
    local = LocalFiles([package.folder], wanted)
    path = package.folder / "fp32.onnx"
    path.write_bytes(bytes(path.stat().st_size))
    assert [local.chunk(chunk) for chunk in wanted] == [None] * len(wanted)
    assert not any(local.has(chunk) for chunk in wanted)


def test_folder_that_cannot_be_read_is_left_out(package: BuiltPackage, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    local = LocalFiles([tmp_path / "broken", tmp_path / "nowhere", package.folder], chunks_of(package))
    assert all(local.has(chunk) for chunk in chunks_of(package))


def test_file_of_the_wrong_length_is_not_looked_into(package: BuiltPackage) -> None:
    path = package.folder / "fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    local = LocalFiles([package.folder], chunks_of(package))
    assert not any(local.has(chunk) for chunk in chunks_of(package))
