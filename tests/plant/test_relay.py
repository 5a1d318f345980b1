# SPDX-License-Identifier: Apache-2.0
"""A way that can be cut: silence while it is, what waited afterwards, and no farewell to anybody."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from plant.processes.relay import Relay

SHORT_S = 0.3
LONG_S = 30.0


@pytest.fixture(name="echo_port")
def _echo_port() -> Iterator[int]:
    """A server that says everything back, to any number of clients."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(taken: socket.socket) -> None:
        with contextlib.suppress(OSError), taken:
            while chunk := taken.recv(4096):
                taken.sendall(chunk)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.fixture(name="relay")
def _relay(echo_port: int) -> Iterator[Relay]:
    relay = Relay(echo_port)
    yield relay
    relay.close()


def _connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=LONG_S)


def _is_silent(client: socket.socket) -> bool:
    client.settimeout(SHORT_S)
    try:
        return client.recv(1) == b"?"
    except TimeoutError:
        return True
    finally:
        client.settimeout(LONG_S)


def test_what_goes_in_comes_out(relay: Relay) -> None:
    with _connect(relay) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"


def test_a_cut_is_silent_and_what_waited_goes_on_when_it_is_mended(relay: Relay) -> None:
    with _connect(relay) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        relay.cut()
        client.sendall(b"b")
        # Neither an answer nor an end: that is what a network that is cut looks like.
        assert _is_silent(client)
        relay.mend()
        assert client.recv(1) == b"b"


def test_who_connects_while_it_is_cut_reaches_nobody_until_it_is_mended() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    relay = Relay(server.getsockname()[1])
    try:
        relay.cut()
        with _connect(relay) as client:
            client.sendall(b"c")
            assert _is_silent(client)
            server.settimeout(SHORT_S)
            with pytest.raises(TimeoutError):
                server.accept()
            relay.mend()
            server.settimeout(LONG_S)
            taken, _ = server.accept()
            with taken:
                taken.settimeout(LONG_S)
                assert taken.recv(1) == b"c"
    finally:
        relay.close()
        server.close()


def test_a_farewell_of_the_far_end_is_not_heard_through_a_cut() -> None:
    # The server of this test hangs up at once; through a cut nobody may learn of it.
    server = socket.create_server(("127.0.0.1", 0))
    relay = Relay(server.getsockname()[1])
    try:
        with _connect(relay) as client:
            taken, _ = server.accept()
            relay.cut()
            taken.close()
            assert _is_silent(client)
            relay.mend()
            assert client.recv(1) == b""
    finally:
        relay.close()
        server.close()


def test_nobody_behind_it_ends_the_connection_as_it_would_without_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    lost = Relay(port)
    try:
        with _connect(lost) as client:
            assert client.recv(1) == b""
    finally:
        lost.close()


def test_it_can_be_closed_while_it_is_cut(echo_port: int) -> None:
    relay = Relay(echo_port)
    with _connect(relay) as client:
        relay.cut()
        relay.close()
        # An end or a reset: either way the station knows.
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
