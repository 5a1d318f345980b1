# SPDX-License-Identifier: Apache-2.0
"""One connection to central: asks, reads the answer into a shape, tells what went wrong. Knows no route.

Every call has a timeout and a bounded answer. Called by `client` only.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx

from dashboard.central_errors import UnexpectedAnswerError, UnreachableError, refusal
from dashboard.reading import ShapeError, read, read_list

API: Final = "/api/v1"
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024

_T = TypeVar("_T")
Parameters = Mapping[str, str | int | None]


class Connection:
    """One central, one token. Safe to share between threads."""

    def __init__(
        self, url: str, token: str, *, timeout_s: float = 4.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url + API,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            transport=transport,
            # A proxy of the office network must not stand between two programs of the plant.
            trust_env=False,
        )

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one(self, shape: type[_T], path: str, query: Parameters | None = None) -> _T:
        return self._read(shape, self._send("GET", path, query))

    def _many(self, shape: type[_T], path: str, query: Parameters | None = None) -> tuple[_T, ...]:
        answer = self._send("GET", path, query)
        try:
            return read_list(shape, answer.json())
        except (ValueError, ShapeError) as error:
            raise self._strange(answer, error) from error

    def _read(self, shape: type[_T], answer: httpx.Response) -> _T:
        try:
            return read(shape, answer.json())
        except (ValueError, ShapeError) as error:
            raise self._strange(answer, error) from error

    def _send(
        self,
        method: str,
        path: str,
        query: Parameters | None = None,
        *,
        body: Mapping[str, object] | None = None,
        also: tuple[int, ...] = (),
        timeout_s: float | None = None,
    ) -> httpx.Response:
        patience = self._http.timeout if timeout_s is None else httpx.Timeout(timeout_s)
        asked = {key: str(value) for key, value in (query or {}).items() if value is not None}
        try:
            with self._http.stream(method, path, params=asked, json=body, timeout=patience) as answer:
                chunks = bytearray()
                for chunk in answer.iter_bytes():
                    chunks += chunk
                    if len(chunks) > MAX_ANSWER_BYTES:
                        raise UnexpectedAnswerError(f"{path}: more than {MAX_ANSWER_BYTES} bytes; not shown")
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UnreachableError(f"No answer from central at {self.url} ({type(error).__name__}).") from error
        whole = httpx.Response(
            answer.status_code,
            headers={"content-type": answer.headers.get("content-type", "")},
            content=bytes(chunks),
            request=answer.request,
        )
        if not whole.is_success and whole.status_code not in also:
            raise refusal(whole, self.url)
        return whole

    def _strange(self, answer: httpx.Response, error: Exception) -> UnexpectedAnswerError:
        return UnexpectedAnswerError(
            f"{self.url} answered {answer.request.url.path} in another shape than this dashboard knows "
            f"({error}). Central and dashboard must be of the same version."
        )
