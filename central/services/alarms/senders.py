# SPDX-License-Identifier: Apache-2.0
"""Takes one message to one route: SMTP, webhook or MQTT. Tries once; who tries again is `delivering.py`.

Blocks for as long as the other side lets it, within `timeout_s` a step, so it is called from threads of its own.
"""

import base64
import binascii
import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final, Protocol

import httpx

from central.domain.alarm_routes import AlarmRoute
from central.errors import RouteError
from central.services.alarms.messages import Outgoing
from central.settings import AlarmSettings
from contracts.topics import alarm_topic
from contracts.vocabulary import RouteKind

_MOST_LETTERS: Final = 300


class ConfirmedPublisher(Protocol):
    """What MQTT routes need of the gateway."""

    def publish_confirmed(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        """Publish and wait for the broker's acknowledgement; False: none came, or the broker is away."""
        ...


@dataclass(frozen=True)
class Sent:
    """A message that arrived, in a line. `is_partly`: not for everybody; once more would reach the others twice."""

    text: str
    is_partly: bool = False


@dataclass(frozen=True)
class AlarmSender:
    """Knows the ways out and their secrets. Holds no connection between two messages."""

    settings: AlarmSettings
    broker: ConfirmedPublisher

    def send(self, route: AlarmRoute, message: Outgoing, now: datetime) -> Sent:
        """Send once.

        Raises:
            RouteError: it did not arrive, as far as anybody knows.
        """
        ways: dict[RouteKind, Callable[[], Sent]] = {
            RouteKind.EMAIL: lambda: self._mail(route, message),
            RouteKind.WEBHOOK: lambda: self._post(route, message, now),
            RouteKind.MQTT: lambda: self._publish(route, message),
        }
        return ways[route.kind]()

    def _mail(self, route: AlarmRoute, message: Outgoing) -> Sent:
        settings = self.settings
        if not settings.smtp_host:
            raise RouteError("central has no mail server: set alarms.smtp_host and alarms.smtp_from in its settings")
        mail = _mail_of(message, settings.smtp_from, route.target.addresses)
        # Its own idea of our name is a question to a name server that may hang.
        domain = settings.smtp_from.rpartition("@")[2]
        where = f"mail server {settings.smtp_host}:{settings.smtp_port}"
        try:
            if settings.smtp_security == "tls":
                client: smtplib.SMTP = smtplib.SMTP_SSL(
                    settings.smtp_host, settings.smtp_port, domain, timeout=settings.timeout_s, context=self._tls()
                )
            else:
                client = smtplib.SMTP(settings.smtp_host, settings.smtp_port, domain, settings.timeout_s)
            try:
                if settings.smtp_security == "starttls":
                    client.starttls(context=self._tls())
                if settings.smtp_username:
                    client.login(settings.smtp_username, settings.smtp_password)
                refused = client.send_message(mail)
            finally:
                _leave(client)
        except smtplib.SMTPRecipientsRefused as error:
            raise RouteError(f"{where} refused every address: {_addresses(error.recipients)}") from error
        except smtplib.SMTPAuthenticationError as error:
            # The server's words may repeat what was sent; the number says enough.
            raise RouteError(f"{where} refused the login ({error.smtp_code}): check alarms.smtp_username") from error
        except (smtplib.SMTPException, OSError) as error:
            raise RouteError(f"{where}: {_told(error)}") from error
        if refused:
            return Sent(f"mail taken by {where}, but not for {_addresses(refused)}", is_partly=True)
        return Sent(f"mail taken by {where} for {', '.join(route.target.addresses)}")

    def _post(self, route: AlarmRoute, message: Outgoing, now: datetime) -> Sent:
        body = json.dumps(message.document, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "sightline-central",
            **signed(self._key_of(route), message.message_id, now, body),
        }
        try:
            verify = self._tls()
            with (
                # Proxies and certificates are settings' business, never the environment's.
                httpx.Client(timeout=self.settings.timeout_s, verify=verify, trust_env=False) as client,
                # The answer's body is nobody's business and may be endless: it is not read.
                client.stream("POST", route.target.url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise RouteError(f"webhook {_host(route)}: {_told(error)}") from error
        if not 200 <= status < 300:
            # Redirects count as refused: following one would hand the alarm to somebody nobody named.
            raise RouteError(f"webhook {_host(route)}: expected an answer 2xx, got {status}")
        return Sent(f"webhook {_host(route)} answered {status}")

    def _publish(self, route: AlarmRoute, message: Outgoing) -> Sent:
        topic = alarm_topic(route.name)
        body = json.dumps(message.document, ensure_ascii=False, separators=(",", ":")).encode()
        is_taken = self.broker.publish_confirmed(
            topic, body, retain=route.target.is_retained, timeout_s=self.settings.timeout_s
        )
        if not is_taken:
            raise RouteError(f"topic {topic}: the broker is away or has not acknowledged the message")
        return Sent(f"broker acknowledged the message on {topic}")

    def _key_of(self, route: AlarmRoute) -> bytes | None:
        if not route.target.key:
            return None
        for said in self.settings.webhook_keys:
            name, _, secret = said.partition("=")
            if name == route.target.key:
                return _bytes_of(secret)
        raise RouteError(f"key {route.target.key!r}: expected a word of alarms.webhook_keys, got none")

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.settings.ca_file or None)


def signed(secret: bytes | None, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """Headers that tell who sent it and when: HMAC-SHA256 over id, time and body, as Standard Webhooks v1 lay down."""
    stamp = str(int(now.timestamp()))
    headers = {"webhook-id": message_id, "webhook-timestamp": stamp}
    if secret is not None:
        digest = hmac.new(secret, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return headers


def _bytes_of(secret: str) -> bytes:
    """`whsec_` and base64, as receivers' libraries write a secret, or any other text as it is."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise RouteError("webhook key: expected base64 after whsec_, got something else") from error
    return secret.encode()


def _mail_of(message: Outgoing, sender: str, addresses: tuple[str, ...]) -> EmailMessage:
    domain = sender.rpartition("@")[2]
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(addresses)
    mail["Subject"] = " ".join(message.subject.split())[:_MOST_LETTERS]
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.message_id}@{domain}>"
    if message.thread is not None:
        mail["References"] = f"<{message.thread}@{domain}>"
    # No holiday notices in answer, please.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    return mail


def _leave(client: smtplib.SMTP) -> None:
    # The message is taken, or the fault is known already: a server that ends badly changes neither.
    try:
        client.quit()
    except (smtplib.SMTPException, OSError):
        client.close()


def _addresses(refused: dict[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{address} ({code})" for address, (code, _) in sorted(refused.items()))[:_MOST_LETTERS]


def _host(route: AlarmRoute) -> str:
    # Not the whole address: many services hand out addresses that are secrets themselves.
    return httpx.URL(route.target.url).host


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MOST_LETTERS]
