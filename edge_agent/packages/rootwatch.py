# SPDX-License-Identifier: Apache-2.0
"""Follows central's roots, so that an exchanged or revoked assignment key is known before the next assignment.

Asks at the start, then every few minutes, and soon after an envelope came whose signer is not known; a flood of such
envelopes makes it ask no more often than `soonest_s`. What came before its key was known is handed on again once the
key is. As the one that asks central regularly it also says when central refuses the station's token, or has not been
reached for long: nothing else would show before the next package is due. Decides nothing (`packages.roots` does) and
needs nothing of central but its files. Built by the composition root.
"""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import httpx

from contracts.ids import StationAddress
from contracts.reports import StationFault
from contracts.topics import Channel, topic
from edge_agent.clock import Clock
from edge_agent.errors import TransportError
from edge_agent.packages.download import remedy_for
from edge_agent.packages.roots import MAX_ROOT_BYTES, AssignmentKeys
from edge_agent.packages.trust import PackageRefused
from edge_agent.reporting.bus import Handler, MessageBus
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

_PERIOD_S: Final = 300.0
_SOONEST_S: Final = 10.0
_MOST_ROOTS: Final = 64
_MOST_ENVELOPE_BYTES: Final = 4 * 1024 * 1024
_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 1.0
_FAULT: Final = "root-refused"
_REFUSES: Final = "central-refuses"
_AWAY: Final = "central-away"
# A restart of central, or a night's work on the network, is no news.
_PATIENCE_S: Final = 900.0
_LOGIN_STATUS: Final = (
    httpx.codes.UNAUTHORIZED,
    httpx.codes.FORBIDDEN,
    httpx.codes.PROXY_AUTHENTICATION_REQUIRED,
)


class RootSource(Protocol):
    """Where roots come from."""

    def root(self, version: int) -> bytes | None:
        """Bytes of one version; None: there is none yet.

        Raises:
            TransportError: the link is down or central does not answer as it should.
        """
        ...


class HttpRootSource:
    """Central's `/tuf/metadata`, bounded in bytes and time."""

    def __init__(
        self,
        central_url: str,
        token: str,
        *,
        clock: Clock,
        ca_file: Path | None = None,
        proxy: httpx.Proxy | None = None,
    ) -> None:
        self._base = f"{central_url.rstrip('/')}/api/v1/tuf/metadata"
        self._clock = clock
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            proxy=proxy,
            verify=str(ca_file) if ca_file else True,
        )

    def root(self, version: int) -> bytes | None:
        """See `RootSource`."""
        url, until = f"{self._base}/{version}.root.json", self._clock.monotonic() + _TIMEOUT_S
        content = b""
        try:
            with self._client.stream("GET", url) as response:
                if response.status_code == httpx.codes.NOT_FOUND:
                    return None
                status = response.status_code
                if status in _LOGIN_STATUS:
                    raise TransportError(f"{url}: HTTP {status}", remedy=remedy_for(status), code=_REFUSES)
                if status != httpx.codes.OK:
                    raise TransportError(f"{url}: expected HTTP 200, got {status}", remedy=remedy_for(status))
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_ROOT_BYTES:
                        raise TransportError(f"{url}: more than {MAX_ROOT_BYTES} bytes")
                    if self._clock.monotonic() > until:
                        raise TransportError(f"{url}: not complete after {_TIMEOUT_S:g} s")
        except httpx.HTTPError as error:
            raise TransportError(f"{url}: {type(error).__name__}: {error}") from error
        return content

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class RootWatch:
    """See the module.

    Args:
        relays: channel → who reads it; called again with what it could not read before a key was exchanged.
        period_s: between two looks at central.
        soonest_s: between two looks, whatever comes in.
        patience_s: without an answer from central before that is a fault.
    """

    def __init__(
        self,
        keys: AssignmentKeys,
        source: RootSource,
        clock: Clock,
        *,
        relays: Mapping[Channel, Handler],
        period_s: float = _PERIOD_S,
        soonest_s: float = _SOONEST_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.looks = 0
        self._patience_s = patience_s
        self._answered_s = clock.monotonic()
        self._keys = keys
        self._source = source
        self._clock = clock
        self._relays = relays
        self._period_s, self._soonest_s = period_s, soonest_s
        self._faults = FaultBook(clock)
        self._unread: dict[Channel, tuple[str, bytes]] = {}
        self._state = threading.Condition()
        self._is_asked = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="root-watch", daemon=True)
        keys.on_change(self._hand_on)

    def start(self, bus: MessageBus, station: StationAddress) -> None:
        """Listen for envelopes and begin to look."""
        for channel in self._relays:
            bus.subscribe(topic(station, channel), self._listener(channel))
        self._thread.start()

    def stop(self) -> None:
        """End the thread. A request under way ends by its time-out. May be called twice."""
        with self._state:
            self._is_stopping = True
            self._state.notify_all()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        return self._faults.current()

    def look(self) -> None:
        """Follow every root that central has beyond the present one. A link that is down is no error."""
        self.looks += 1
        try:
            for _ in range(_MOST_ROOTS):
                content = self._source.root(self._keys.version + 1)
                self._hear_from_central()
                if content is None:
                    break
                self._keys.offer(content)
        except TransportError as error:
            _log.info("roots not asked for: %s", error.message)
            self._miss_central(error)
            return
        except PackageRefused as refusal:
            _log.warning(
                "root refused version=%d reason=%s: %s", self._keys.version + 1, refusal.reason, refusal.message
            )
            self._faults.add(
                _FAULT,
                f"root {self._keys.version + 1} from central: {refusal.reason}: {refusal.message}",
                "someone may be in central's place, or its keys were exchanged without the holders' signatures",
            )
            return
        except OSError as error:
            self._faults.add(_FAULT, f"a root cannot be kept: {error}", "check the disk and the rights of data_dir")
            return
        self._faults.clear(_FAULT)

    def _hear_from_central(self) -> None:
        self._answered_s = self._clock.monotonic()
        self._faults.clear(_AWAY)
        self._faults.clear(_REFUSES)

    def _miss_central(self, error: TransportError) -> None:
        waits = "verdicts go on by the broker; new packages and pictures wait"
        if error.code == _REFUSES:
            self._faults.clear(_AWAY)
            self._faults.add(_REFUSES, f"central refuses this station's login: {error.message}; {waits}", error.remedy)
        elif self._clock.monotonic() - self._answered_s >= self._patience_s:
            remedy = "check central.url, cable, network and central; `sightline-edge doctor` says which"
            self._faults.add(_AWAY, f"central cannot be reached: {error.message}; {waits}", remedy)

    def _listener(self, channel: Channel) -> Handler:
        def hear(name: str, sealed: bytes) -> None:
            if not sealed or _is_known(sealed, self._keys):
                return
            with self._state:
                self._unread[channel] = (name, sealed)
                self._is_asked = True
                self._state.notify_all()

        return hear

    def _hand_on(self) -> None:
        with self._state:
            unread, self._unread = self._unread, {}
        for channel, (name, sealed) in unread.items():
            if _is_known(sealed, self._keys):
                self._relays[channel](name, sealed)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a watch that ends silently would never hear of a revoked key
                _log.exception("following the roots failed")
            with self._state:
                # Whatever comes in, central is not asked more often than this.
                self._state.wait_for(lambda: self._is_stopping, self._soonest_s)
                self._state.wait_for(lambda: self._is_stopping or self._is_asked, self._period_s - self._soonest_s)
                self._is_asked = False


def _is_known(sealed: bytes, keys: AssignmentKeys) -> bool:
    """Whether a key that counts claims to have signed this; what is no envelope has nobody to ask for."""
    if len(sealed) > _MOST_ENVELOPE_BYTES:
        return True
    try:
        named = {str(each["keyid"]) for each in json.loads(sealed.decode())["signatures"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return True
    return any(key.keyid in named for key in keys.keys())  # noqa: SIM118 - no mapping
