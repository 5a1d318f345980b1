# SPDX-License-Identifier: Apache-2.0
"""Embeddings of inspections as bytes of their column, and back: half precision, little-endian, number after number.

Half precision holds two to three digits, which is what a station sends. Called by the repository of reports and by
those who read the column.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_TYPE: Final = np.dtype("<f2")
# Of one number.
BYTES: Final = _TYPE.itemsize


def packed(embedding: Sequence[float] | None) -> bytes | None:
    """As the column has it; at most 64 bytes."""
    return None if embedding is None else np.asarray(embedding, _TYPE).tobytes()


def unpacked(rows: Sequence[bytes]) -> NDArray[Any]:
    """Embeddings of one length, float64 [n, d].

    Raises:
        ValueError: of different lengths; those of two packages, perhaps.
    """
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"embeddings: expected some of one length, got lengths {sorted(lengths)}")
    return np.frombuffer(b"".join(rows), _TYPE).reshape(len(rows), -1).astype(np.float64)
