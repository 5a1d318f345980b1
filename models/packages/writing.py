# SPDX-License-Identifier: Apache-2.0
"""Writes a package whole, then gives it its name: graphs, golden images, report, manifest.

A reader sees the whole package or none. Signs nothing (central does, with TUF). Called by `training`;
digests by `reading` and `exporting` too.
"""

import hashlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.chunks import cut, digests
from contracts.codec import encode
from contracts.manifest import MANIFEST_NAME, FileChunk, FileRole, PackageFile, PackageManifest
from contracts.vocabulary import Variant
from models.staging import begin_staging, end_staging, staging_of

GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"


def sha256_of(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


def golden_bytes(images: NDArray[np.uint8], scores: Mapping[Variant, NDArray[np.float32]]) -> bytes:
    """The golden set: `images` and `score_<variant>` for each variant, no pickles."""
    arrays = {f"score_{variant.replace('-', '_')}": values.astype(np.float32) for variant, values in scores.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, images=images, **arrays)  # type: ignore[arg-type]  # numpy's stub wants allow_pickle's bool
    return stream.getvalue()


def described(files: Mapping[str, tuple[FileRole, bytes]]) -> list[PackageFile]:
    """The manifest's entries of the files; graphs with their chunks, so that stations fetch only what is new."""
    return [
        PackageFile(
            name=name,
            role=role,
            sha256=sha256_of(content),
            size_bytes=len(content),
            chunks=_chunks(content) if role is FileRole.MODEL else [],
        )
        for name, (role, content) in files.items()
    ]


def _chunks(content: bytes) -> list[FileChunk]:
    sizes = cut(content)
    return [
        FileChunk(size_bytes=size, sha256=digest) for size, digest in zip(sizes, digests(content, sizes), strict=True)
    ]


def write_package(
    folder: Path,
    manifest: PackageManifest,
    files: Mapping[str, tuple[FileRole, bytes]],
    *,
    make_room: Callable[[], None] | None = None,
) -> str:
    """Write all files beside the final place, then rename; returns the package id. On failure nothing is left.

    `make_room` is called once all is written, and moves away what stands at the final place.

    Raises:
        InputError: where it would come about stands something of somebody else's; it stays as it is.
    """
    staging = staging_of(folder)
    begin_staging(staging)
    whole = staging / folder.name
    try:
        whole.mkdir()
        for name, (_, content) in files.items():
            (whole / name).write_bytes(content)
        content = encode(manifest)
        (whole / MANIFEST_NAME).write_bytes(content)
        if make_room is not None:
            make_room()
        elif folder.exists():
            shutil.rmtree(folder)
        whole.replace(folder)
    finally:
        end_staging(staging)
    return sha256_of(content)
