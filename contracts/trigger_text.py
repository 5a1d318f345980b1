# SPDX-License-Identifier: Apache-2.0
"""Reads what line controllers and scanners publish as a trigger: our JSON, JSON near to it, or a bare serial.

Tolerant on purpose: what it cannot read is a part that cannot be named. Writes nothing: whoever writes triggers in
Python encodes a `TriggerReceived`. Used by the station.
"""

import json
from typing import Any, Final

from contracts.codec import CodecError, decode
from contracts.commands import TriggerReceived

MAX_TRIGGER_BYTES: Final = 64 * 1024
# Ours first: it wins where both are given.
_OTHER_NAMES: Final = {
    "part_id": ("serial", "serial_number"),
    "product": ("recipe",),
    "trigger_number": ("number",),
    "at": ("time",),
}


def read_trigger(payload: bytes) -> TriggerReceived:
    """Read the payload of a `trigger` message.

    A JSON object: the fields of `TriggerReceived`, each optional; `serial`, `recipe`, `number` and `time` are taken
    for `part_id`, `product`, `trigger_number` and `at`; a `part_id` may be a number; unknown fields pass. A JSON text,
    or anything that is not JSON: the part's serial. Nothing: a part of which nothing is known.

    Raises:
        CodecError: too large, not UTF-8, or fields that are not what they should be; the text says which.
    """
    if len(payload) > MAX_TRIGGER_BYTES:
        msg = f"trigger: expected at most {MAX_TRIGGER_BYTES} bytes, got {len(payload)}"
        raise CodecError(msg)
    try:
        text = payload.decode("utf-8-sig").strip("\0 \t\r\n")
    except UnicodeDecodeError as error:
        msg = f"trigger: expected JSON or a serial in UTF-8, got {payload[:40]!r}"
        raise CodecError(msg) from error
    if not text:
        return TriggerReceived()
    return decode(TriggerReceived, json.dumps(_fields(text)).encode())


def _fields(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    if not isinstance(said, dict):
        # As it was written: a serial of digits keeps its leading zeros.
        return {"part_id": said if isinstance(said, str) else text}
    for ours, others in _OTHER_NAMES.items():
        for other in others:
            if other in said and said.get(ours) is None:
                said[ours] = said[other]
    part_id = said.get("part_id")
    if isinstance(part_id, int | float) and not isinstance(part_id, bool):
        said["part_id"] = str(part_id)
    elif isinstance(part_id, str):
        said["part_id"] = part_id.strip() or None
    return said
