# SPDX-License-Identifier: Apache-2.0
"""Real servers that take messages to people: SMTP and HTTP on loopback, each keeping what it got."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from plant.processes.broker import free_port

USER, PASSWORD = "sightline", "correct horse battery"


@dataclass
class Mailbox:
    """Mails in the order they were taken; `answer` other than 250 refuses them, `refused` refuses these addresses."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 OK"
    refused: set[str] = field(default_factory=set)
    logins: list[str] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:  # noqa: N802 - its name is the library's
        if address in self.refused:
            return "550 no such address"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 - as above
        if self.answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            mail = message_from_bytes(content, policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
        return self.answer

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> AuthResult:
        assert isinstance(login, LoginPassword)
        self.logins.append(login.login.decode())
        return AuthResult(success=(login.login.decode(), login.password.decode()) == (USER, PASSWORD), handled=False)


class _Server(Controller):
    """With STARTTLS where `tls` is given and `security` says so."""

    def __init__(self, mailbox: Mailbox, security: str, tls: ssl.SSLContext | None) -> None:
        self._starttls = tls if security == "starttls" else None
        super().__init__(mailbox, "127.0.0.1", mailbox.port, ssl_context=tls if security == "tls" else None)

    def factory(self) -> SMTP:
        mailbox: Mailbox = self.handler
        return SMTP(
            mailbox,
            tls_context=self._starttls,
            require_starttls=self._starttls is not None,
            authenticator=mailbox.authenticate,
            auth_required=self._starttls is not None,
            auth_require_tls=self._starttls is not None,
            enable_SMTPUTF8=True,
        )


@contextmanager
def mail_server(mailbox: Mailbox, security: str = "none", tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """Listening between enter and exit, on the mailbox's port."""
    server = _Server(mailbox, security, tls)
    server.start()
    try:
        yield mailbox
    finally:
        server.stop()


def new_mailbox() -> Mailbox:
    """On a port that nobody listens on yet."""
    return Mailbox(free_port())


@dataclass
class Posted:
    """What a webhook got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


@dataclass
class Hook:
    """Posts in the order they came; answered by `status`."""

    port: int
    posts: list[Posted] = field(default_factory=list)
    status: int = 204
    location: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/token-in-the-path"


def new_hook() -> Hook:
    """On a port that nobody listens on yet."""
    return Hook(free_port())


@contextmanager
def hook_server(hook: Hook) -> Iterator[Hook]:
    """Listening between enter and exit, on the hook's port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.posts.append(Posted(self.path, {key.lower(): text for key, text in self.headers.items()}, body))
            self.send_response(hook.status)
            if hook.location:
                self.send_header("location", hook.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", hook.port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
