# SPDX-License-Identifier: Apache-2.0
"""Makes the file of a picture another one for each presentation: its bytes must not tell that it was shown before.

Pure; pixels are untouched, so who decodes two pictures and compares them can still tell, as can a person with a good
memory. Called by `api/audits.py`.
"""

import hashlib
import struct
import zlib
from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
# Of the mark: its length hides that of the picture.
_LEAST_BYTES: Final = 32
_LENGTHS: Final = 4096


def marked(content: bytes, number: int) -> bytes:
    """A PNG or JPEG file with a comment that only this number gives; other bytes as they are.

    Args:
        content: the file.
        number: of the presentation, 0 or more, below 2^64.
    """
    seed = hashlib.sha256(struct.pack(">Q", number)).digest()
    length = _LEAST_BYTES + int.from_bytes(seed[:4], "big") % _LENGTHS
    mark = hashlib.shake_256(seed).hexdigest(length)[:length].encode()
    if content.startswith(_PNG):
        chunk = b"tEXt" + b"Comment\0" + mark
        # Behind IHDR, which comes first: 4 bytes of length, 4 of type, 13 of data, 4 of checksum.
        place = len(_PNG) + 25
        return content[:place] + struct.pack(">I", len(chunk) - 4) + chunk + _crc(chunk) + content[place:]
    if content.startswith(_JPEG):
        return _JPEG + b"\xff\xfe" + struct.pack(">H", len(mark) + 2) + mark + content[len(_JPEG) :]
    return content


def _crc(chunk: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(chunk))
