# SPDX-License-Identifier: Apache-2.0
"""Bytes of a `report` message to reports, as tolerantly as is safe. Pure; used by `services/ingest.py`.

One unreadable report does not take its neighbours with it: it alone is set aside, under its own number, so that the
station gets a receipt for it and does not send it for ever.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import Field, ValidationError

from central.store.repositories.reports import Poison, StationReports
from contracts.base import Message
from contracts.codec import CodecError, decode
from contracts.commands import SequenceRange
from contracts.ids import Epoch, StationAddress
from contracts.reports import MAX_REPORTS_PER_MESSAGE, InspectionReported, InspectionsReported
from contracts.topics import parse_topic

_MAX_SEQUENCE: Final = 2**53


class _Envelope(Message):
    """`InspectionsReported` with its reports still unread."""

    station: StationAddress
    epoch: Epoch
    reports: list[Any] = Field(min_length=1, max_length=MAX_REPORTS_PER_MESSAGE)


def read_reports(topic: str, payload: bytes) -> StationReports:
    """Read one message.

    Raises:
        CodecError: nothing of it can be used (not JSON, other major version, another station's name inside).
    """
    try:
        message = decode(InspectionsReported, payload)
    except CodecError as error:
        read = _read_one_by_one(topic, payload, error)
    else:
        read = StationReports(message.station, message.epoch, message.reports)
    check_sender(topic, read.station)
    return read


def check_sender(topic: str, station: StationAddress) -> None:
    """A station speaks for itself only.

    Raises:
        CodecError: the topic names another station than the message.
    """
    try:
        sender, _ = parse_topic(topic)
    except ValueError as error:
        raise CodecError(f"topic {topic!r} is not one of ours") from error
    if sender != station:
        raise CodecError(f"station: expected {sender} as in the topic, got {station}")


def to_ranges(sequences: Iterable[int]) -> list[SequenceRange]:
    """The same numbers as few ranges, ascending: exactly these, nothing between."""
    ranges: list[list[int]] = []
    for sequence in sorted(set(sequences)):
        if ranges and sequence == ranges[-1][1] + 1:
            ranges[-1][1] = sequence
        else:
            ranges.append([sequence, sequence])
    return [SequenceRange(first=first, last=last) for first, last in ranges]


def without(read: StationReports, topic: str, faulty: Sequence[tuple[InspectionReported, str]]) -> StationReports:
    """The same message with some reports set aside (readable, but refused by the database)."""
    refused = {id(report) for report, _ in faulty}
    aside = [
        Poison(topic, report.model_dump_json(exclude_none=True).encode(), error, report.sequence)
        for report, error in faulty
    ]
    kept = [report for report in read.reports if id(report) not in refused]
    return StationReports(read.station, read.epoch, kept, [*read.poison, *aside])


def _read_one_by_one(topic: str, payload: bytes, whole_error: CodecError) -> StationReports:
    try:
        envelope = decode(_Envelope, payload)
    except CodecError:
        raise whole_error from None
    reports: list[InspectionReported] = []
    poison: list[Poison] = []
    for raw in envelope.reports:
        body = json.dumps(raw, ensure_ascii=True).encode()
        try:
            # As JSON, not as Python objects: times and words are read by the rules of the wire.
            reports.append(InspectionReported.model_validate_json(body))
        except ValidationError as error:
            poison.append(Poison(topic, body, _in_words(error), _sequence_of(raw)))
    return StationReports(envelope.station, envelope.epoch, reports, poison)


def _sequence_of(raw: Any) -> int | None:
    sequence = raw.get("sequence") if isinstance(raw, dict) else None
    if isinstance(sequence, int) and not isinstance(sequence, bool) and 1 <= sequence <= _MAX_SEQUENCE:
        return sequence
    return None


def _in_words(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'report'}: {fault['msg']}" for fault in faults[:5])
