# SPDX-License-Identifier: Apache-2.0
"""A line controller over OPC UA, by asyncua, whose event loop runs in a thread of this link.

Addresses are node identifiers (`ns=2;s=Gate.Pass`). Speaks without message security; a name and a password are the
most it offers. Never repeats a request by itself. Used by the worker threads of outputs and triggers.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edge_agent.controller.link import no_package
from edge_agent.errors import DeviceError, EdgeError, TransportError

if TYPE_CHECKING:
    from asyncua import Client

_T = TypeVar("_T")
_SESSION_MS: Final = 60_000
_WHOLE_NUMBERS: Final = frozenset(
    {"SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"},
)
# Answers after which the same request will fail again until a person changes something.
_REFUSALS: Final = frozenset(
    {
        "BadNodeIdUnknown",
        "BadNodeIdInvalid",
        "BadAttributeIdInvalid",
        "BadTypeMismatch",
        "BadNotWritable",
        "BadNotReadable",
        "BadWriteNotSupported",
        "BadOutOfRange",
        "BadUserAccessDenied",
        "BadIdentityTokenInvalid",
        "BadIdentityTokenRejected",
    }
)


class OpcUaLink:
    """See the module.

    Args:
        url: `opc.tcp://host:port/path`.
        timeout_s: longest wait for an answer.
        username: None: anonymous.
        password: its password.
        number_bits: counters wrap at this width.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.5,
        username: str | None = None,
        password: str | None = None,
        number_bits: int = 32,
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._username = username
        self._password = password
        self._number_bits = number_bits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None

    def open(self) -> None:
        """Connect and open a session.

        Raises:
            TransportError: no server answers there.
            DeviceError: asyncua is not installed, or the server refused us.
        """
        try:
            from asyncua import Client  # noqa: PLC0415 - optional, and seconds of imports
        except ImportError as error:
            raise no_package("opcua") from error
        self.close()
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="opcua", daemon=True)
        self._thread.start()
        client = Client(self._url, timeout=self._timeout_s)
        # A session left behind by a killed station must not use up the controller's few for an hour.
        client.session_timeout = _SESSION_MS
        if self._username is not None:
            client.set_user(self._username)
            client.set_password(self._password or "")
        # A handshake is some five requests.
        self._wait("connect", client.connect(), 5 * self._timeout_s)
        self._client = client

    def close(self) -> None:
        """Hang up, end the thread."""
        loop, thread, client = self._loop, self._thread, self._client
        self._loop = self._thread = self._client = None
        if loop is None or thread is None:
            return
        with contextlib.suppress(Exception):  # whatever is left of the session, the server forgets it by itself
            asyncio.run_coroutine_threadsafe(_end(client), loop).result(2 * self._timeout_s)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(self._timeout_s)
        if not thread.is_alive():
            loop.close()

    def write_flag(self, address: str, *, is_on: bool) -> None:
        """Write a Boolean variable. Raises as `ControllerLink` says."""
        from asyncua import ua  # noqa: PLC0415 - see `open`

        # Without time stamps: servers may refuse to have theirs written.
        value = ua.DataValue(ua.Variant(is_on, ua.VariantType.Boolean))
        self.ask(f"write {address}", lambda client: client.get_node(address).write_attribute(_value_id(), value))

    def write_value(self, address: str, value: str | None) -> None:
        """Write a number or a text, as the variable's type wants it. Raises as `ControllerLink` says."""
        self.ask(f"write {address}", lambda client: _write_typed(client.get_node(address), address, value))

    def read_flag(self, address: str) -> bool:
        """Read a Boolean variable. Raises as `ControllerLink` says."""
        return bool(self._read(address))

    def read_number(self, address: str) -> int:
        """Read a whole number. Raises as `ControllerLink` says."""
        value = self._read(address)
        if isinstance(value, bool) or not isinstance(value, int):
            msg = f"{self._url}: {address}: expected a whole number, got {value!r}"
            raise DeviceError(msg, remedy="name the counter's variable")
        return value % (1 << self._number_bits)

    def read_text(self, address: str) -> str:
        """Read a text or a number, as text. Raises as `ControllerLink` says."""
        value = self._read(address)
        return "" if value is None else str(value).strip("\0 \t\r\n")

    def ask(self, what: str, request: "Callable[[Client], Coroutine[Any, Any, _T]]") -> _T:
        """Run one request on the link's loop and wait for it. Raises as `ControllerLink` says."""
        client = self._client
        if client is None:
            raise self._away("not connected")
        try:
            work = request(client)
        except Exception as error:  # asyncua reads the address here, and has its own errors for one it cannot read
            msg = f"{self._url}: cannot {what}: {error}"
            raise DeviceError(msg, remedy="write node identifiers as ns=2;s=Name or ns=2;i=1234") from error
        return self._wait(what, work, 2 * self._timeout_s)

    def _read(self, address: str) -> Any:
        return self.ask(f"read {address}", lambda client: client.get_node(address).read_value())

    def _wait(self, what: str, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        loop = self._loop
        if loop is None:
            work.close()
            raise self._away("not connected")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result(timeout_s)
        except (TimeoutError, concurrent.futures.TimeoutError) as error:
            future.cancel()
            raise self._away(f"no answer on {what} within {timeout_s:g} s") from error
        except Exception as error:
            raise self._told(what, error) from error

    def _told(self, what: str, error: Exception) -> EdgeError:
        if isinstance(error, EdgeError):
            return error
        name = type(error).__name__
        if name in _REFUSALS or isinstance(error, ValueError):
            return DeviceError(
                f"line controller at {self._url} refused to {what}: {name}",
                remedy="correct the node identifier, its type, or the right to it in the controller",
            )
        return self._away(f"{what}: {error or name}")

    def _away(self, why: str) -> TransportError:
        return TransportError(
            f"line controller at {self._url}: {why}", remedy="check the controller, its network and the url"
        )


async def _end(client: "Client | None") -> None:
    """Say goodbye, then leave no task behind."""
    if client is not None:
        with contextlib.suppress(Exception):
            await client.disconnect()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _write_typed(node: Any, address: str, value: str | None) -> None:
    from asyncua import ua  # noqa: PLC0415 - see `open`

    kind = await node.read_data_type_as_variant_type()
    if kind is ua.VariantType.String:
        typed: int | str = value or ""
    elif kind.name in _WHOLE_NUMBERS and (value or "0").isascii() and (value or "0").isdigit():
        typed = int(value or 0)
    else:
        msg = f"{address}: expected a variable that takes {value!r}, got one of type {kind.name}"
        raise DeviceError(msg, remedy="name a variable of the same type as the one that is read")
    # Without time stamps: servers may refuse to have theirs written.
    await node.write_attribute(ua.AttributeIds.Value, ua.DataValue(ua.Variant(typed, kind)))


def _value_id() -> Any:
    from asyncua import ua  # noqa: PLC0415 - see `open`

    return ua.AttributeIds.Value
