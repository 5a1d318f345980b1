# SPDX-License-Identifier: Apache-2.0
"""State of a monitor as bytes and back, to the last bit: one npz with a JSON header, no pickle.

Knows names, numbers and arrays, not monitors. Reading trusts nothing: kind, version, names, types, sizes.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = "header"
_MOST_BYTES: Final = 256 * 1024 * 1024


def to_bytes(kind: str, version: int, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Header (JSON types) and arrays (numbers, bool) as one blob."""
    text = json.dumps({"kind": kind, "version": version, **header}, ensure_ascii=False, allow_nan=False)
    blob = io.BytesIO()
    np.savez(blob, allow_pickle=False, **{_HEADER: np.frombuffer(text.encode(), np.uint8)}, **dict(arrays))
    return blob.getvalue()


def from_bytes(kind: str, version: int, blob: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays.

    Raises:
        ValueError: not such a blob, another kind or version, or more than 256 MiB; start a new monitor.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as packed:
            size = sum(each.file_size for each in packed.infolist())
        _refuse_large(size)
        with np.load(io.BytesIO(blob), allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        header = json.loads(arrays.pop(_HEADER).tobytes().decode())
        found = header.pop("kind"), header.pop("version")
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(f"{kind}: expected the bytes that to_bytes gave, got {len(blob)} others: {error}") from error
    if found != (kind, version):
        raise ValueError(f"{kind}: expected version {version} of {kind!r}, got version {found[1]} of {found[0]!r}")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and np.isnan(array).any()):
            raise ValueError(f"{kind}: expected numbers in {name!r}, got {array.dtype} or NaN")
    return header, arrays


def _refuse_large(size: int) -> None:
    if size > _MOST_BYTES:
        raise ValueError(f"{size} bytes unpacked, {_MOST_BYTES} at most")


def take(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], kind: str = "f") -> NDArray[Any]:
    """One array, checked; None in `shape` is any length.

    Raises:
        ValueError: absent, or another shape or type.
    """
    array = arrays.get(name)
    if (
        array is None
        or array.dtype.kind != kind
        or array.ndim != len(shape)
        or any(want is not None and want != got for want, got in zip(shape, array.shape, strict=True))
    ):
        told = "none" if array is None else f"{array.dtype} {array.shape}"
        raise ValueError(f"monitor state: expected {name!r} of type {kind} and shape {shape}, got {told}")
    return array.copy()
