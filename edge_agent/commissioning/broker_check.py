# SPDX-License-Identifier: Apache-2.0
"""Reaches the broker step by step (name, TCP, TLS, login), so that each kind of refusal is told apart.

Publishes nothing and subscribes to nothing. Every step is bounded in time. Used by `doctor`.
"""

import socket
import ssl
import threading
import uuid
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.commissioning.findings import Finding, fail, ok
from edge_agent.reporting.bus import BrokerAddress
from edge_agent.settings import BrokerSettings

_STEP_S: Final = 4.0
# Of OpenSSL: X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH, X509_V_ERR_CERT_HAS_EXPIRED.
NAME_MISMATCH: Final = frozenset({62, 64})
EXPIRED: Final = 10
_NAME: Final = "broker"


def check_broker(broker: BrokerSettings) -> list[Finding]:
    """Reach the broker as the station would."""
    address = BrokerAddress.parse(broker.url)
    where = f"{address.host}:{address.port}"
    try:
        link = socket.create_connection((address.host, address.port), timeout=_STEP_S)
    except OSError as error:
        return [fail(_NAME, *unreachable(where, error, "broker.url", "the broker"))]
    with link:
        if address.is_tls and (trouble := _try_tls(broker, address, link)) is not None:
            return [trouble]
    return [_log_in(broker, address, where)]


def unreachable(where: str, error: OSError, key: str, whom: str) -> tuple[str, str]:
    """What was found and what to do about an address that no connection can be made to."""
    if isinstance(error, socket.gaierror):
        return f"the name in {key} is not known here ({where}): {error.strerror}", f"correct {key}, or ask for its IP"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {where} (connection refused)", f"start {whom}, or correct the port in {key}"
    if isinstance(error, TimeoutError):
        return f"no answer from {where} within {_STEP_S:.0f} s", f"check cable, address and firewall, or correct {key}"
    return f"{where} cannot be reached: {error.strerror or error}", f"check the network of this machine and {key}"


def tls_trouble(where: str, error: ssl.SSLError | OSError, key: str) -> tuple[str, str]:
    """What was found and what to do about a TLS handshake that failed; `key`: prefix of the settings."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in NAME_MISMATCH:
            found = f"TLS: the certificate of {where} is for another name ({error.verify_message})"
            return found, f"write the name that stands in the certificate into {key}.url, or have a new one made"
        if error.verify_code == EXPIRED:
            return f"TLS: the certificate of {where} has expired", "have it renewed; check this machine's clock as well"
        found = f"TLS: the certificate of {where} is not trusted here ({error.verify_message})"
        return found, f"point {key}.ca_file to the certificate of the authority that signed it"
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return (
            f"TLS: {where} answers without TLS",
            f"use the port for TLS, or {key}.url without the s (mqtt://, http://)",
        )
    return f"TLS: the handshake with {where} failed: {error}", f"check that {key}.url names a port for TLS"


def path_text(path: Path | None) -> str | None:
    """A path as paho wants it."""
    return None if path is None else str(path)


def _try_tls(broker: BrokerSettings, address: BrokerAddress, link: socket.socket) -> Finding | None:
    try:
        context = ssl.create_default_context(cafile=None if broker.ca_file is None else str(broker.ca_file))
        if broker.cert_file is not None:
            context.load_cert_chain(broker.cert_file, broker.key_file)
    except OSError as error:
        found = f"TLS: broker.ca_file, broker.cert_file or broker.key_file cannot be used: {error}"
        return fail(_NAME, found, "correct the path, or the file: PEM is expected")
    try:
        with context.wrap_socket(link, server_hostname=address.host):
            return None
    except OSError as error:
        return fail(_NAME, *tls_trouble(f"{address.host}:{address.port}", error, "broker"))


def _log_in(broker: BrokerSettings, address: BrokerAddress, where: str) -> Finding:
    answers: list[ReasonCode] = []
    answered = threading.Event()

    def on_connect(
        _client: mqtt.Client, _user: Any, _flags: mqtt.ConnectFlags, reason: ReasonCode, _more: Properties | None
    ) -> None:
        answers.append(reason)
        answered.set()

    client_id = f"sightline-doctor-{uuid.uuid4().hex[:8]}"
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
    client.connect_timeout = _STEP_S
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if address.is_tls:
        client.tls_set(
            ca_certs=path_text(broker.ca_file), certfile=path_text(broker.cert_file), keyfile=path_text(broker.key_file)
        )
    client.on_connect = on_connect
    try:
        client.connect(address.host, address.port, keepalive=10)
        client.loop_start()
        answered.wait(_STEP_S)
    except OSError as error:
        return fail(_NAME, *tls_trouble(where, error, "broker"))
    finally:
        client.disconnect()
        client.loop_stop()
    if not answers:
        found = f"{where} takes connections but does not speak MQTT (no answer within {_STEP_S:.0f} s)"
        return fail(_NAME, found, "correct the port in broker.url: 1883 is usual for mqtt, 8883 for mqtts")
    if answers[0].is_failure:
        who = f"user {broker.username!r}" if broker.username else "a client without a user name"
        remedy = "correct broker.username and broker.password, or have the broker's administrator make this user"
        return fail(_NAME, f"{where} refuses the login of {who}: {answers[0]}", remedy)
    login = f"logged in as {broker.username!r}" if broker.username else "logged in without a user name"
    return ok(_NAME, f"{where} reached{' over TLS' if address.is_tls else ''}, {login}")
