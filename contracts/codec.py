# SPDX-License-Identifier: Apache-2.0
"""Messages to bytes and back. Strict writer, tolerant reader; the only place that knows it is JSON.

Does not log, count or quarantine: the reader of a topic decides what to do with a `CodecError`.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from contracts import CONTRACT_VERSION
from contracts.base import Message
from contracts.ids import StationAddress
from contracts.reports import InspectionsReported

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
_MAJOR: Final = CONTRACT_VERSION.split(".", maxsplit=1)[0]
_M = TypeVar("_M", bound=Message)


class CodecError(ValueError):
    """Bytes that are not the expected message. Park them; reading them again will not help."""


def encode(message: BaseModel) -> bytes:
    """UTF-8 JSON of a message, without empty optional fields."""
    return message.model_dump_json(exclude_none=True).encode()


def encode_reports(station: StationAddress, epoch: int, bodies: Sequence[bytes]) -> bytes:
    """UTF-8 JSON of an `InspectionsReported`, from reports that `encode` has written.

    Reads none of them: bytes that may be anything else are read and encoded as a message instead.
    """
    # `reports` is the last field, so that its items can follow the rest.
    empty = encode(InspectionsReported.model_construct(station=station, epoch=epoch, reports=[]))
    return empty.removesuffix(b"]}") + b",".join(bodies) + b"]}"


def decode(shape: type[_M], payload: bytes) -> _M:
    """Read a message.

    Raises:
        CodecError: too large, not JSON, another shape, or an unknown major version; the text says which.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        msg = f"{shape.__name__}: expected at most {MAX_MESSAGE_BYTES} bytes, got {len(payload)}"
        raise CodecError(msg)
    try:
        message = shape.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        msg = f"{shape.__name__}: {where}: {first['msg']} ({error.error_count()} fault(s) in all)"
        raise CodecError(msg) from error
    if message.schema_version.split(".", maxsplit=1)[0] != _MAJOR:
        msg = f"{shape.__name__}: expected schema version {_MAJOR}.x, got {message.schema_version}"
        raise CodecError(msg)
    return message
