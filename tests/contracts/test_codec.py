# SPDX-License-Identifier: Apache-2.0
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from pydantic import ValidationError

from contracts.codec import MAX_MESSAGE_BYTES, CodecError, decode, encode, encode_reports
from contracts.reports import InspectionReported, InspectionsReported
from contracts.vocabulary import Disposition, SignalState, Verdict, VerdictCause
from tests.contracts import strategies


@given(strategies.batches)
def test_what_is_written_is_read_back_equal(message: InspectionsReported) -> None:
    assert decode(InspectionsReported, encode(message)) == message


@given(strategies.batches)
def test_reports_that_are_encoded_already_make_the_same_message(message: InspectionsReported) -> None:
    bodies = [encode(report) for report in message.reports]
    assert encode_reports(message.station, message.epoch, bodies) == encode(message)


@given(strategies.batches)
def test_unknown_fields_pass(message: InspectionsReported) -> None:
    tree = json.loads(encode(message))
    tree["from_the_future"] = {"a": 1}
    tree["reports"][0]["from_the_future"] = True
    assert decode(InspectionsReported, json.dumps(tree).encode()) == message


@given(strategies.batches)
def test_unknown_major_version_is_refused(message: InspectionsReported) -> None:
    tree = json.loads(encode(message)) | {"schema_version": "2.0"}
    with pytest.raises(CodecError, match="expected schema version 1"):
        decode(InspectionsReported, json.dumps(tree).encode())


@given(strategies.batches)
def test_unknown_minor_version_is_read(message: InspectionsReported) -> None:
    tree = json.loads(encode(message)) | {"schema_version": "1.99"}
    assert decode(InspectionsReported, json.dumps(tree).encode()).reports == message.reports


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "InspectionsReported"),
        (b"{", "InspectionsReported"),
        (b"[]", "InspectionsReported"),
        (b"\xff\xfe", "InspectionsReported"),
        (b"{}", "station"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "at most"),
    ],
)
def test_bytes_that_are_no_message_are_refused_with_the_place(payload: bytes, expected: str) -> None:
    with pytest.raises(CodecError, match=expected):
        decode(InspectionsReported, payload)


def report(**changes: object) -> InspectionReported:
    fields: dict[str, object] = {
        "sequence": 1,
        "captured_at": datetime(2026, 1, 1, tzinfo=UTC),
        "verdict": Verdict.OK,
        "cause": VerdictCause.SCORE,
        "score": 0.1,
        "package_id": "0" * 64,
        "disposition": Disposition.PASSED,
        "signal": SignalState.SENT,
        "is_simulated": True,
    }
    return InspectionReported.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"captured_at": datetime(2026, 1, 1)}, "offset from UTC"),  # noqa: DTZ001 the naive time is the point
        ({"score": None}, "needs a score"),
        ({"package_id": None}, "needs a score"),
        ({"cause": VerdictCause.LATE}, "does not go with"),
        ({"verdict": Verdict.NO_DECISION}, "does not go with"),
        ({"score": float("nan")}, "finite"),
        ({"sequence": 0}, "greater than or equal to 1"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        report(**changes)


def test_times_travel_as_utc() -> None:
    text = '{"captured_at":"2026-06-01T12:00:00+02:00"}'
    fields = json.loads(report().model_dump_json()) | json.loads(text)
    assert InspectionReported.model_validate(fields).captured_at == datetime(2026, 6, 1, 10, tzinfo=UTC)
