# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import CodecError, encode
from contracts.commands import TriggerReceived
from contracts.trigger_text import MAX_TRIGGER_BYTES, read_trigger

AT = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
WHOLE = TriggerReceived(trigger_number=7, at=AT, part_id="SN-7", product="ring")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (encode(WHOLE), WHOLE),
        (b'{"number": 7, "serial": "SN-7", "recipe": "ring", "time": "2026-03-01T07:00:00+01:00"}', WHOLE),
        (b'{"part_id": "SN-7", "serial": "other"}', TriggerReceived(part_id="SN-7")),
        (b'{"part_id": 4711, "unknown": [1]}', TriggerReceived(part_id="4711")),
        (b'{"part_id": "  "}', TriggerReceived()),
        (b"{}", TriggerReceived()),
        (b"", TriggerReceived()),
        (b" \r\n\0", TriggerReceived()),
        (b"SN-7\r\n", TriggerReceived(part_id="SN-7")),
        (b'"SN-7"', TriggerReceived(part_id="SN-7")),
        (b"0042", TriggerReceived(part_id="0042")),
        (b"42", TriggerReceived(part_id="42")),
        (b"\xef\xbb\xbfSN-7", TriggerReceived(part_id="SN-7")),
        (b"[1, 2", TriggerReceived(part_id="[1, 2")),
    ],
)
def test_json_near_json_and_bare_serials_are_read(payload: bytes, expected: TriggerReceived) -> None:
    assert read_trigger(payload) == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xfe",
        b"x" * 129,
        b" " * (MAX_TRIGGER_BYTES + 1),
        b'{"product": "Ring A/3"}',
        b'{"trigger_number": -1}',
        b'{"trigger_number": "seven"}',
        b'{"at": "yesterday"}',
        b'{"schema_version": "9.0"}',
        b'{"part_id": ["a"]}',
        b"[" * 60_000,
    ],
)
def test_what_cannot_be_read_is_refused_in_one_clear_error(payload: bytes) -> None:
    with pytest.raises(CodecError, match=r"(?i)trigger"):
        read_trigger(payload)


@given(st.binary(max_size=200))
def test_no_payload_raises_anything_else(payload: bytes) -> None:
    try:
        read = read_trigger(payload)
    except CodecError:
        return
    assert isinstance(read, TriggerReceived)
