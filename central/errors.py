# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in central, split by who must act.

    CentralError
    ├── SettingsError      the operator: settings are wrong (all faults listed at once)
    ├── StoreError         the operator: database or blob store cannot be used
    │   ├── DigestError     the sender: uploaded bytes are not what was promised; start again from 0
    │   └── OffsetError     the sender: continue from `expected`
    ├── RouteError         the link or the operator: a message to people did not arrive; tried again by itself
    ├── BrokerError        the link: retried by itself, shown in /ready
    └── RequestError       the caller of the API; carries the HTTP status
        ├── NotFoundError           404
        ├── ConflictError           409: the state moved on; read again
        ├── InvalidError            422: the body or query says something impossible
        ├── UnauthorizedError       401
        └── ForbiddenError          403

Holds no HTTP code beyond the status number; `api/problems.py` turns these into `Problem` bodies.
"""

import errno
import sqlite3
from typing import Final

DISK_IS_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def is_disk_full(error: BaseException) -> bool:
    """Whether a file system, or SQLite on one, had no room for what was to be written."""
    if isinstance(error, OSError):
        return error.errno in DISK_IS_FULL
    cause = getattr(error, "orig", None)
    return isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode == sqlite3.SQLITE_FULL


class CentralError(Exception):
    """Root of everything central raises on purpose. The text is meant for a person."""


class SettingsError(CentralError):
    """Settings that cannot work. `faults` names each one."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("settings cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))


class StoreError(CentralError):
    """Database or blob store cannot be used; the message says what to do."""


class DigestError(StoreError):
    """The uploaded bytes do not have the promised SHA-256. What was received is gone; start again from 0."""


class OffsetError(StoreError):
    """The upload continues elsewhere: from byte `expected`."""

    def __init__(self, expected: int, got: int) -> None:
        self.expected = expected
        super().__init__(f"upload: expected offset {expected}, got {got}; continue from {expected}")


class RouteError(CentralError):
    """A message to people did not arrive, as far as anybody knows. The text holds no secret."""


class BrokerError(CentralError):
    """The broker refused or cannot be reached. Connecting is retried; nothing stored is lost."""


class RequestError(CentralError):
    """The caller asked for something that cannot be done. `status` is the HTTP status."""

    status = 400
    word = "bad request"


class NotFoundError(RequestError):
    """No such thing."""

    status = 404
    word = "not found"


class ConflictError(RequestError):
    """The state moved on since the caller looked."""

    status = 409
    word = "conflict"


class InvalidError(RequestError):
    """Well-formed but impossible."""

    status = 422
    word = "invalid"


class UnauthorizedError(RequestError):
    """No token, or one that is unknown or revoked."""

    status = 401
    word = "unauthorized"


class ForbiddenError(RequestError):
    """A valid token whose role may not do this."""

    status = 403
    word = "forbidden"
