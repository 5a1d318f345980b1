# SPDX-License-Identifier: Apache-2.0
"""The plant's own MQTT broker: mosquitto when it is on the PATH, else amqtt in a process of its own.

Bound to the loopback address, with a user name and a password made for this data folder. Says how to start
the broker and when it is ready; starting and watching it is the supervisor's work. A real plant brings its
own broker and does not use this. Used by `plant.processes.site`.
"""

import base64
import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from plant.errors import ChildError, UsageError
from plant.processes.supervisor import ChildSpec

LOOPBACK: Final = "127.0.0.1"
USERNAME: Final = "sightline"
# mosquitto keeps its store in memory and writes it this often; receipts make the loss in between harmless.
_AUTOSAVE_S: Final = 5
_LOWEST_PORT: Final = 20_000
_PORTS: Final = 12_000
_PORT_TRIES: Final = 500
_MOSQUITTO_PLACES: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


class BrokerKind(StrEnum):
    """Which broker program to run."""

    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


@dataclass(frozen=True)
class BrokerPlan:
    """A broker that can be started: how, and where clients reach it."""

    kind: BrokerKind
    spec: ChildSpec
    port: int
    username: str
    password: str

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"mqtt://{LOOPBACK}:{self.port}"


def find_mosquitto() -> str | None:
    """Path of the mosquitto program. Distributions put it where a plain user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_MOSQUITTO_PLACES)


def choose_broker(wanted: str) -> BrokerKind:
    """The broker to run for `auto`, `mosquitto` or `amqtt`.

    Raises:
        UsageError: mosquitto was asked for by name and is not installed, or the name is unknown.
    """
    if wanted == "auto":
        return BrokerKind.MOSQUITTO if find_mosquitto() else BrokerKind.AMQTT
    try:
        kind = BrokerKind(wanted)
    except ValueError as error:
        msg = f"broker: expected auto, mosquitto or amqtt, got {wanted!r}"
        raise UsageError(msg) from error
    if kind is BrokerKind.MOSQUITTO and not find_mosquitto():
        raise UsageError("broker: mosquitto is not on the PATH; install it, or use --broker amqtt")
    return kind


def free_port(taken: AbstractSet[int] = frozenset()) -> int:
    """A loopback port that nobody listens on right now and that is not among those `taken`.

    Below the range from which systems take the near end of outgoing connections: one of those could occupy the port
    before its server starts.

    Raises:
        UsageError: hundreds of ports were tried and none is free.
    """
    for _ in range(_PORT_TRIES):
        port = _LOWEST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            if port not in taken:
                return port
    raise UsageError("no free port found on this machine; give ports with --port, --dashboard-port and --broker-port")


def require_free_port(port: int, option: str) -> int:
    """The port itself when nobody listens on it.

    Raises:
        UsageError: taken, or not ours to bind; names the command-line option to change.
    """
    with socket.socket() as probe:
        # Sockets of a plant that just stopped linger in TIME_WAIT; that is no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            msg = f"port {port} cannot be used ({error}); give another one with {option}"
            raise UsageError(msg) from error
    return port


def plan_broker(kind: BrokerKind, port: int, folder: Path) -> BrokerPlan:
    """Write the broker's files into `folder` (created if absent) and say how to start it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    password = _password(folder)
    spec = _plan_mosquitto(port, folder, password) if kind is BrokerKind.MOSQUITTO else _plan_amqtt(port, folder)
    return BrokerPlan(kind=kind, spec=spec, port=port, username=USERNAME, password=password)


def broker_answers(plan: BrokerPlan, timeout_s: float = 2.0) -> bool:
    """Whether the broker takes a real MQTT connection with our password right now."""
    answered = threading.Event()
    reasons: list[bool] = []

    def on_connect(_client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        reasons.append(not reason.is_failure)
        answered.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"probe-{secrets.token_hex(4)}")
    client.username_pw_set(plan.username, plan.password)
    client.on_connect = on_connect
    try:
        client.connect(LOOPBACK, plan.port, keepalive=10)
        client.loop_start()
        answered.wait(timeout_s)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            client.disconnect()
        client.loop_stop()
    return bool(reasons) and reasons[0]


def wait_for_broker(plan: BrokerPlan, timeout_s: float = 20.0) -> None:
    """Return when the broker answers.

    Raises:
        ChildError: it did not within the time; its log says why.
    """
    deadline = time.monotonic() + timeout_s
    while not broker_answers(plan):
        if time.monotonic() > deadline:
            msg = f"the {plan.kind} broker did not answer on {plan.url} within {timeout_s:.0f} s; see broker.log"
            raise ChildError(msg)
        time.sleep(0.1)


def _password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8")


def _mosquitto_password_line(password: str) -> str:
    # The format of mosquitto_passwd: PBKDF2-SHA512, `$7$iterations$salt$hash`.
    salt, iterations = secrets.token_bytes(12), 101
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, 64)
    return f"{USERNAME}:$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def _plan_mosquitto(port: int, folder: Path, password: str) -> ChildSpec:
    program = find_mosquitto()
    if program is None:
        raise UsageError("broker: mosquitto is not on the PATH; install it, or use --broker amqtt")
    passwords = folder / "mosquitto.passwords"
    passwords.write_text(_mosquitto_password_line(password), encoding="utf-8")
    passwords.chmod(0o600)
    lines = [
        "per_listener_settings false",
        f"listener {port} {LOOPBACK}",
        "allow_anonymous false",
        f"password_file {passwords}",
        "persistence true",
        f"persistence_location {folder}/",
        f"autosave_interval {_AUTOSAVE_S}",
        "max_inflight_messages 200",
        "max_queued_messages 100000",
        "sys_interval 0",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
    ]
    if os.geteuid() == 0:
        # Started as root, mosquitto would change to a user that may not read this folder.
        lines.append("user root")
    settings = folder / "mosquitto.conf"
    settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ChildSpec(name="broker", command=(program, "-c", str(settings)))


def _plan_amqtt(port: int, folder: Path) -> ChildSpec:
    command = (sys.executable, "-m", "plant.processes.broker_child", "--port", str(port), "--folder", str(folder))
    return ChildSpec(name="broker", command=command)
