# SPDX-License-Identifier: Apache-2.0
"""Reaches central: link, version, token; and holds this machine's clock against central's and the network's.

Uploads nothing and changes nothing. Every request is bounded in time. Used by `doctor`.
"""

import socket
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx

from edge_agent.central_client import proxy_of
from edge_agent.clock import Clock
from edge_agent.commissioning.broker_check import tls_trouble, unreachable
from edge_agent.commissioning.findings import Finding, fail, ok, warn
from edge_agent.kernel_clock import kernel_clock_is_synchronised
from edge_agent.settings import CentralSettings

_STEP_S: Final = 4.0
_LOOKS: Final = 3
_NAME: Final = "central"
_CLOCK: Final = "clock"
_WARN_SKEW_S: Final = 2.0
_FAIL_SKEW_S: Final = 60.0
_NTP_REMEDY: Final = (
    "switch network time on (`timedatectl set-ntp true`) and let the firewall pass UDP 123 to its server"
)


def check_central(central: CentralSettings, clock: Clock, version: str) -> list[Finding]:
    """Reach central as the station would, and compare the clocks by its answer."""
    # With a proxy between them it is the proxy that must be there; central answers behind it.
    where = urlsplit(central.url if central.proxy is None else central.proxy.url)
    port = where.port or (443 if where.scheme == "https" else 80)
    place = f"{where.hostname}:{port}"
    try:
        # httpx tells name, link and TLS apart by the text only; the socket tells by type.
        socket.create_connection((where.hostname or "", port), timeout=_STEP_S).close()
    except OSError as error:
        key, what = ("central.url", "central") if central.proxy is None else ("central.proxy", "the proxy")
        return [fail(_NAME, *unreachable(place, error, key, what)), *_network_time(None)]
    try:
        client = httpx.Client(
            base_url=f"{central.url}/api/v1/",
            timeout=_STEP_S,
            trust_env=False,
            proxy=proxy_of(central.proxy),
            verify=str(central.ca_file) if central.ca_file else True,
        )
    except OSError as error:
        found = f"central.ca_file cannot be used: {error}"
        return [fail(_NAME, found, "correct the path, or the file: PEM is expected"), *_network_time(None)]
    with client:
        try:
            health = client.get("health")
            looks = [_look(client, central.token, clock) for _ in range(_LOOKS)]
        except httpx.HTTPError as error:
            return [fail(_NAME, *_no_answer(place, error)), *_network_time(None)]
    # A busy central sends a Date that is old already, never one to come: of several looks the least skew is the truest.
    skew_s = min((skew for _, skew in looks if skew is not None), default=None)
    return [*_read_health(place, health, version), _read_token(place, looks[-1][0]), *_network_time(skew_s)]


def _look(client: httpx.Client, token: str, clock: Clock) -> tuple[httpx.Response, float | None]:
    before = clock.now()
    answer = client.get("tuf/metadata/timestamp.json", headers={"Authorization": f"Bearer {token}"})
    after = clock.now()
    return answer, _skew_s(answer.headers.get("Date"), before + (after - before) / 2)


def _no_answer(place: str, error: httpx.HTTPError) -> tuple[str, str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return tls_trouble(place, cause, "central")
        cause = cause.__cause__ or cause.__context__
    return (
        f"{place} gives no HTTP answer: {type(error).__name__}: {error}",
        "check that central runs behind central.url",
    )


def _read_health(place: str, answer: httpx.Response, version: str) -> list[Finding]:
    try:
        found = str(answer.json()["version"])
    except (ValueError, KeyError, TypeError):
        text = f"{place} answers HTTP {answer.status_code}, but not as central does"
        return [fail(_NAME, text, "correct central.url: host and port of central, without /api")]
    if found.split(".")[:2] != version.split(".")[:2]:
        remedy = "update the older of the two; central and stations of one minor version are tested together"
        return [warn(_NAME, f"{place} reached, version {found}; this station has {version}", remedy)]
    return [ok(_NAME, f"{place} reached, version {found}")]


def _read_token(place: str, answer: httpx.Response) -> Finding:
    name = "central token"
    if answer.status_code in (401, 403):
        found = f"{place} does not accept central.token (HTTP {answer.status_code})"
        return fail(name, found, "have a token of role STATION made at central for this station; set central.token")
    if answer.status_code == httpx.codes.OK:
        return ok(name, "accepted")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return ok(name, "accepted (central has published no package yet)")
    found = f"{place} answers HTTP {answer.status_code} where a package list is expected"
    return warn(name, found, "look into central's log; check that central.url is central and no proxy")


def _skew_s(date: str | None, now: datetime) -> float | None:
    """How far this machine is ahead of central, in s. The header has whole seconds, so half of one is taken off."""
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    told = told if told.tzinfo is not None else told.replace(tzinfo=UTC)
    return (now - told).total_seconds() - 0.5


def _network_time(skew_s: float | None) -> list[Finding]:
    findings = []
    if skew_s is not None:
        way = "ahead of" if skew_s > 0 else "behind"
        found = f"{abs(skew_s):.1f} s {way} central's"
        if abs(skew_s) > _FAIL_SKEW_S:
            why = "times of parts would be wrong and signed assignments count as expired"
            findings.append(fail(_CLOCK, f"{found}: {why}", _NTP_REMEDY))
        elif abs(skew_s) > _WARN_SKEW_S:
            findings.append(warn(_CLOCK, found, _NTP_REMEDY))
        else:
            findings.append(ok(_CLOCK, f"agrees with central's within {_WARN_SKEW_S:.0f} s"))
    else:
        findings.append(
            warn(_CLOCK, "cannot be compared: central gave no time", "let central be reached, then ask again")
        )
    is_synchronised = kernel_clock_is_synchronised()
    if is_synchronised is False:
        findings.append(warn("network time", "the kernel says that nothing keeps this clock right", _NTP_REMEDY))
    elif is_synchronised:
        findings.append(ok("network time", "the clock is kept right by network time"))
    return findings
