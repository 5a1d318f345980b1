# SPDX-License-Identifier: Apache-2.0
"""python-tuf's way to the network: small files, each bounded in bytes and in time.

Resumes nothing: metadata and manifests are small, graphs come by `packages.download`. Decides nothing about trust.
Used by `packages.fetch`.
"""

from collections.abc import Callable, Iterator

import httpx
from tuf.api import exceptions as tuf_errors
from tuf.ngclient import FetcherInterface

from edge_agent.clock import Clock


class BoundedHttpFetcher(FetcherInterface):
    """python-tuf's network seam on httpx: bearer token, time-outs, a deadline and a byte bound for each file."""

    def __init__(self, client: httpx.Client, clock: Clock, *, max_file_bytes: int, max_file_s: float) -> None:
        self._client = client
        self._clock = clock
        self._max_file_bytes = max_file_bytes
        self._max_file_s = max_file_s
        self.check: Callable[[], None] = lambda: None

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A generator would send the request only when it is read; TUF expects HTTP errors from this call.
        self.check()
        request = self._client.build_request("GET", url)
        try:
            response = self._client.send(request, stream=True)
        except httpx.TimeoutException as error:
            msg = f"{url}: no answer in time"
            raise tuf_errors.SlowRetrievalError(msg) from error
        if response.status_code != httpx.codes.OK:
            response.close()
            msg = f"{url}: expected HTTP 200, got {response.status_code}"
            raise tuf_errors.DownloadHTTPError(msg, response.status_code)
        return self._chunks(url, response)

    def _chunks(self, url: str, response: httpx.Response) -> Iterator[bytes]:
        deadline = self._clock.monotonic() + self._max_file_s
        received = 0
        try:
            # As it comes: collected into pieces of one size, a byte now and then would never be looked at.
            for chunk in response.iter_raw():
                received += len(chunk)
                if received > self._max_file_bytes:
                    # Endless data: the caller's own bound may be generous, this one is the station's.
                    msg = f"{url}: more than {self._max_file_bytes} bytes"
                    raise tuf_errors.DownloadLengthMismatchError(msg)
                if self._clock.monotonic() > deadline:
                    # Slow retrieval: a byte now and then would hold the installer for ever.
                    msg = f"{url}: not complete after {self._max_file_s:g} s"
                    raise tuf_errors.SlowRetrievalError(msg)
                self.check()
                yield chunk
        except httpx.HTTPError as error:
            msg = f"{url}: {type(error).__name__}: {error}"
            raise tuf_errors.DownloadError(msg) from error
        finally:
            response.close()
