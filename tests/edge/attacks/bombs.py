# SPDX-License-Identifier: Apache-2.0
"""Ten gigabytes of zeros, packed: a deflate stream repeats one packed block, so nothing of that size is ever made."""

import io
import struct
import zipfile
import zlib
from typing import Any, Final

_BLOCK: Final = 1024 * 1024
TEN_GIGABYTES: Final = 10 * 1024 * _BLOCK


def packed_block() -> bytes:
    """A MiB of zeros, deflated so that it can be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(b"\0" * _BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)


def zeros_gzip() -> bytes:
    """As `Content-Encoding: gzip` carries them. The sum at its end is never reached."""
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + packed_block() * (TEN_GIGABYTES // _BLOCK) + b"\x03\0" + struct.pack("<II", 0, 0)


def zeros_npz() -> bytes:
    """An .npz that says honestly, in its directory, that its only member is ten gigabytes long."""

    class Repeating:
        """A compressor that has done its work before."""

        def compress(self, _content: bytes) -> bytes:
            return b""

        def flush(self) -> bytes:
            return b"\x03\0"

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        member: Any = archive.open(zipfile.ZipInfo("images.npy"), "w", force_zip64=True)
        member._compressor = Repeating()
        block = packed_block()
        for _ in range(TEN_GIGABYTES // _BLOCK // 10):
            # Every tenth: the size that is told counts, and the file must pass the station's bound for packages.
            member._fileobj.write(block)
            member._compress_size += len(block)
        member._file_size = TEN_GIGABYTES
        member.close()
    return made.getvalue()
