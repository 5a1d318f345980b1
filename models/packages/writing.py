# SPDX-License-Identifier: Apache-2.0
"""Writes a package whole, then gives it its name: graphs, golden images, report, manifest.

A reader sees the whole package or none. Signs nothing (central does, with TUF). Called by `training`.
"""

import hashlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.codec import encode
from contracts.manifest import MANIFEST_NAME, FileRole, PackageFile, PackageManifest
from contracts.vocabulary import Variant

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
    """The manifest's entries of the files."""
    return [
        PackageFile(name=name, role=role, sha256=sha256_of(content), size_bytes=len(content))
        for name, (role, content) in files.items()
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
    """
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        for name, (_, content) in files.items():
            (staging / name).write_bytes(content)
        content = encode(manifest)
        (staging / MANIFEST_NAME).write_bytes(content)
        if make_room is not None:
            make_room()
        elif folder.exists():
            shutil.rmtree(folder)
        staging.replace(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return sha256_of(content)
