# SPDX-License-Identifier: Apache-2.0
"""One picture to central over HTTP: offered by digest, sent from where central already has it.

No thread, no queue, no pause: the evidence recorder has those. Maps every answer to one of two: try again later
(`TransportError`) or never (`UploadRefused`).
"""

from pathlib import Path
from typing import Final

import httpx
from pydantic import Field, ValidationError

from contracts import codec
from contracts.base import Shape
from contracts.ids import InspectionId
from contracts.reports import EvidenceOffered
from edge_agent.errors import TransportError, TrustError

_TIMEOUT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 5.0
# Offer, send, and once more each when central's idea of the offset has changed between the two.
_ROUNDS: Final = 3
# After a PUT: 422 means that the bytes so far do not give the digest; central has thrown them away.
_AGAIN: Final = frozenset({404, 409, 416, 422})
_LATER: Final = frozenset({404, 408, 409, 425, 429})
_JSON: Final = {"Content-Type": "application/json"}


class UploadRefused(TrustError):  # noqa: N818 - an answer, not an accident
    """Central will never take this picture. Do not try again."""

    default_code = "evidence-refused"


class UploadState(Shape):
    """Central's answer: bytes it has, and whether that is all."""

    upload_offset: int = Field(ge=0)
    is_complete: bool


class EvidenceUploader:
    """HTTP client of central's evidence endpoints.

    Args:
        central_url: base URL of central, without `/api`.
        token: bearer token of role STATION.
        ca_file: certificates to trust instead of the system's.
        proxy: between the station and central.
    """

    def __init__(
        self, central_url: str, token: str, *, ca_file: Path | None = None, proxy: httpx.Proxy | None = None
    ) -> None:
        self._client = httpx.Client(
            base_url=f"{central_url.rstrip('/')}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
            trust_env=False,
            proxy=proxy,
            verify=str(ca_file) if ca_file else True,
        )

    def close(self) -> None:
        """Close the connections; a transfer under way fails."""
        self._client.close()

    def upload(self, offered: EvidenceOffered, content: bytes) -> None:
        """Offer a picture and send what central lacks of it. On return central has the whole.

        Raises:
            TransportError: the link or central is down, or the token is not accepted. Try again later.
            UploadRefused: central will never take it.
        """
        for _ in range(_ROUNDS):
            response = self._send("POST", "evidence", codec.encode(offered), _JSON)
            state = self._read(response)
            while not state.is_complete:
                if state.upload_offset >= len(content):
                    # It has all bytes and is not content with them: only from the start can help.
                    state = UploadState(upload_offset=0, is_complete=False)
                headers = {"Content-Type": "application/octet-stream", "Upload-Offset": str(state.upload_offset)}
                response = self._send("PUT", f"evidence/{offered.sha256}", content[state.upload_offset :], headers)
                if response.status_code in _AGAIN:
                    break
                reached = self._read(response)
                if not reached.is_complete and reached.upload_offset <= state.upload_offset:
                    msg = f"evidence upload: central took nothing at offset {state.upload_offset}"
                    raise TransportError(msg, code="evidence-upload")
                state = reached
            if state.is_complete:
                return
        msg = f"evidence upload: central answered {response.status_code} {_ROUNDS} times"
        if response.status_code == 422:
            raise UploadRefused(msg, remedy="check that station and central are of the same version")
        raise TransportError(msg, code="evidence-upload")

    def report_unavailable(self, inspections: list[InspectionId]) -> None:
        """Say that the pictures of these inspections are gone.

        Raises:
            TransportError: try again later.
            UploadRefused: central does not understand it.
        """
        body = b'{"inspections":[' + b",".join(codec.encode(inspection) for inspection in inspections) + b"]}"
        self._check(self._send("POST", "evidence/unavailable", body, _JSON))

    def _send(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
        try:
            return self._client.request(method, path, content=content, headers=headers)
        except (httpx.HTTPError, RuntimeError) as error:
            # RuntimeError: the client was closed under us, at stop.
            msg = f"evidence upload: {type(error).__name__}: {error}"
            raise TransportError(msg, remedy="check the link to central", code="evidence-upload") from error

    def _read(self, response: httpx.Response) -> UploadState:
        self._check(response)
        try:
            return UploadState.model_validate_json(response.content)
        except ValidationError as error:
            msg = f"evidence upload: unexpected answer of central: {response.text[:200]!r}"
            raise TransportError(msg, code="evidence-upload") from error

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        msg = f"evidence upload: central answered {status}: {response.text[:200]}"
        if status in (401, 403):
            remedy = "check central.token in the station's settings"
            raise TransportError(msg, remedy=remedy, code="evidence-token")
        if status in _LATER or status >= 500 or status < 400:
            raise TransportError(msg, remedy="check central's log", code="evidence-upload")
        raise UploadRefused(msg, remedy="check that station and central are of the same version")
