# SPDX-License-Identifier: Apache-2.0
"""Every answer that is not a success becomes a `Problem`: what was expected, what came, what to do.

An unexpected error is logged in full and answered without its insides. Installed by `api/server.py`.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from central.api.schemas import Problem
from central.errors import DigestError, RequestError, StoreError

log = logging.getLogger(__name__)

_SECRETS: Final = ("secret", "password", "token", "key", "authorization")
_MOST_SHOWN: Final = 60

# For the OpenAPI document: any route may answer these.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (401, "No token, or one that is unknown or revoked"),
        (403, "The token's role may not do this"),
        (422, "The request says something impossible"),
    )
}


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(RequestError, _requested)
    app.add_exception_handler(DigestError, _digest)
    app.add_exception_handler(StoreError, _store)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(kind, _store)
    app.add_exception_handler(RequestValidationError, _validated)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def answer(status: int, error: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A `Problem` as a response."""
    return JSONResponse(Problem(error=error, detail=detail).model_dump(), status_code=status, headers=headers)


def _requested(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)  # noqa: S101 - the registration says so; this tells the type checker
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return answer(error.status, error.word, str(error), headers)


def _digest(_request: Request, error: Exception) -> JSONResponse:
    return answer(422, "wrong digest", str(error))


def _store(request: Request, error: Exception) -> JSONResponse:
    log.error("store failed method=%s path=%s error=%s", request.method, request.url.path, error)
    text = "the database or the picture store did not answer; central's log names the cause. Try again."
    return answer(503, "store unavailable", text, {"Retry-After": "2"})


def _validated(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    return answer(422, "invalid", "; ".join(_in_words(fault) for fault in error.errors())[:2000])


def _in_words(fault: Mapping[str, Any]) -> str:
    """Where, what was expected, what came. What is no single value, or may be a secret, is not repeated."""
    where = ".".join(map(str, fault["loc"]))
    said = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        return f"{where}: expected JSON, got something else: {fault.get('ctx', {}).get('error', said)}"
    came = fault.get("input")
    if "got " in said or not isinstance(came, str | int | float) or any(word in where.lower() for word in _SECRETS):
        return f"{where}: {said}"
    shown = repr(came)
    return f"{where}: {said}, got {shown[:_MOST_SHOWN]}{'…' if len(shown) > _MOST_SHOWN else ''}"


def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    words = {404: "not found", 405: "method not allowed"}
    return answer(
        error.status_code, words.get(error.status_code, "refused"), str(error.detail), dict(error.headers or {})
    )


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed method=%s path=%s", request.method, request.url.path, exc_info=error)
    return answer(500, "internal error", "central failed on this request; its log has the details")
