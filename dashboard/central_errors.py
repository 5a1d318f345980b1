# SPDX-License-Identifier: Apache-2.0
"""Everything that a call to central can end with, and how it is read out of an answer.

    CentralError
    ├── UnreachableError       no answer in time: show the last known values, try again by itself
    ├── WrongTokenError        401: ask for another token
    ├── NotAllowedError        403: this token's role is too low; say so beside the button
    ├── RefusedError           404, 409, 422 …: central understood and said no; its words are shown
    └── UnexpectedAnswerError  not central, or another version of it: an engineer must look

Called by `client`, which gives these names to the pages.
"""

import httpx

from dashboard.reading import text_of


class CentralError(Exception):
    """Root of everything a call can end with."""


class UnreachableError(CentralError):
    """No connection, or no answer in time."""


class WrongTokenError(CentralError):
    """The token is unknown to central."""


class NotAllowedError(CentralError):
    """The token is known, but its role may not do this."""


class RefusedError(CentralError):
    """Central said no, with a reason for a person. `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnexpectedAnswerError(CentralError):
    """Something answered, but not as this version of central does."""


def refusal(answer: httpx.Response, url: str) -> CentralError:
    """The error that an answer of this status stands for."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    words = ": ".join(part for part in (text_of(body, "error"), text_of(body, "detail")) if part)
    status = answer.status_code
    if status == httpx.codes.UNAUTHORIZED:
        return WrongTokenError(words or "Central does not know this token.")
    if status == httpx.codes.FORBIDDEN:
        return NotAllowedError(words or "This token's role may not do that.")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return UnreachableError(f"Central at {url} answers with an error (HTTP {status}). {words}".strip())
    if not words:
        return UnexpectedAnswerError(
            f"{url} does not answer as Sightline central does (HTTP {status} for {answer.request.url.path}). "
            "Check the address and the version."
        )
    return RefusedError(words, status)
