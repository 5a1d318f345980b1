# SPDX-License-Identifier: Apache-2.0
"""Real line controllers on loopback: pymodbus's and asyncua's servers in a thread, and one that never answers.

They write down when each coil or variable changed, on the monotonic clock of this machine, which is the station's.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from asyncua import Server, ua
from asyncua.common.callback import CallbackType
from asyncua.common.node import Node
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from plant.processes.broker import free_port

COILS, REGISTERS = 32, 64
_START_S = 60.0


class Controller(Protocol):
    """What the tests ask of either. Flags are named by number; `address` tells how a link spells it."""

    @property
    def url(self) -> str: ...

    def address(self, flag: int) -> str: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def changes(self, flag: int) -> list[tuple[float, bool]]: ...


class _Looped:
    """A server on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._writes: list[tuple[float, int, bool]] = []

    def changes(self, flag: int) -> list[tuple[float, bool]]:
        """(time, value) of each change of a flag, oldest first; it was off before the first."""
        found: list[tuple[float, bool]] = []
        with self._lock:
            writes = list(self._writes)
        for at, written, is_on in writes:
            if written == flag and is_on != (found[-1][1] if found else False):
                found.append((at, is_on))
        return found

    def writes(self, flag: int) -> int:
        """How often a flag was written, changed or not."""
        with self._lock:
            return sum(written == flag for _, written, _ in self._writes)

    def note(self, flag: int, *, is_on: bool) -> None:
        with self._lock:
            self._writes.append((time.monotonic(), flag, is_on))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the server's loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)

    def begin(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, daemon=True)
        self._thread.start()

    def end(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_START_S)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class ModbusController(_Looped):
    """pymodbus's TCP server: 32 coils, 32 inputs, 64 holding registers.

    `answers_after_s`: it is slow. `carries_out_next_after_s`: the next write is, once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.answers_after_s = 0.0
        self.carries_out_next_after_s = 0.0
        self.refuses_registers = False
        self._server: ModbusTcpServer | None = None
        self._coils = [False] * COILS
        self._registers = [0] * REGISTERS

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def address(self, flag: int) -> str:
        return str(flag)

    def start(self) -> None:
        self.begin()
        self.run(self._listen())

    def kill(self) -> None:
        """Break every connection and stop listening."""
        if self._server is not None:
            with contextlib.suppress(Exception):
                self.run(self._server.shutdown())
            self._server = None
        self.end()

    def set_flag(self, flag: int, *, is_on: bool) -> None:
        """What the controller's own program does to a coil."""
        self._coils[flag] = is_on

    def registers(self, first: int, count: int = 1) -> list[int]:
        return self._registers[first : first + count]

    def set_registers(self, first: int, values: list[int]) -> None:
        self._registers[first : first + len(values)] = values

    async def _listen(self) -> None:
        device = SimDevice(
            1,
            simdata=(
                [SimData(0, values=[False] * COILS, datatype=DataType.BITS)],
                [SimData(0, values=[False] * COILS, datatype=DataType.BITS)],
                [SimData(0, values=[0] * REGISTERS, datatype=DataType.REGISTERS)],
                [SimData(0, values=[0], datatype=DataType.REGISTERS)],
            ),
            action=self._act,
        )
        self._server = ModbusTcpServer(device, address=("127.0.0.1", self.port))
        await self._server.listen()

    async def _act(self, function: int, _start: int, address: int, count: int, _registers: Any, values: Any) -> Any:
        """Called by the server for every request, before it answers."""
        if self.answers_after_s:
            await asyncio.sleep(self.answers_after_s)
        if function == 5 and values is not None:
            pause_s, self.carries_out_next_after_s = self.carries_out_next_after_s, 0.0
            await asyncio.sleep(pause_s)
            self.note(address, is_on=bool(values[0]))
            self._coils[address] = bool(values[0])
            return None
        if function in (1, 2) and values is None:
            return self._coils[address : address + count]
        if function in (6, 16) and values is not None:
            self.set_registers(address, list(values))
            return None
        if function == 3 and self.refuses_registers:
            return ExcCodes.ILLEGAL_ADDRESS
        if function == 3 and values is None:
            return self._registers[address : address + count]
        return None


class OpcUaController(_Looped):
    """asyncua's server: flags `Flag0` … `Flag7`, numbers and texts, and `Fixed`, which may not be written.

    `Product` and `Name` tell what is made as a number and as a text, `MadeProduct` and `MadeName` take it back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.nodes: dict[str, Node] = {}
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/line"

    def address(self, flag: int) -> str:
        return f"ns=2;s=Flag{flag}"

    def start(self) -> None:
        self.begin()
        self.run(self._listen())

    def kill(self) -> None:
        if self._server is not None:
            with contextlib.suppress(Exception):
                self.run(self._server.stop())
            self._server = None
        self.end()

    def reset(self) -> None:
        """As if it had just been started."""
        with self._lock:
            self._writes.clear()
        for flag in range(8):
            self.set(f"Flag{flag}", value=False, kind=ua.VariantType.Boolean)
        self.set("Count", 0, ua.VariantType.UInt32)
        self.set("Serial", "", ua.VariantType.String)
        for name in ("Product", "MadeProduct"):
            self.set(name, 0, ua.VariantType.Int16)
        for name in ("Name", "MadeName"):
            self.set(name, "", ua.VariantType.String)

    def set(self, name: str, value: Any, kind: ua.VariantType) -> None:
        """What the controller's own program does to a variable."""
        self.run(self.nodes[name].write_value(ua.Variant(value, kind)))

    def get(self, name: str) -> Any:
        """What a variable holds."""
        return self.run(self.nodes[name].read_value())

    async def _listen(self) -> None:
        server = self._server = Server()
        await server.init()
        server.set_endpoint(self.url)
        space = await server.register_namespace("line")

        def named(name: str) -> ua.NodeId:
            return ua.NodeId.from_string(f"ns={space};s={name}")

        gate = await server.nodes.objects.add_object(space, "Line")
        for flag in range(8):
            node = await gate.add_variable(named(f"Flag{flag}"), f"Flag{flag}", val=False)
            await node.set_writable()
            self.nodes[f"Flag{flag}"] = node
        self.nodes["Fixed"] = await gate.add_variable(named("Fixed"), "Fixed", val=False)
        count = ua.Variant(0, ua.VariantType.UInt32)
        self.nodes["Count"] = await gate.add_variable(named("Count"), "Count", val=count)
        self.nodes["Serial"] = await gate.add_variable(named("Serial"), "Serial", val="")
        for name, value in (("Product", 0), ("MadeProduct", 0), ("Name", ""), ("MadeName", "")):
            kind = ua.VariantType.String if value == "" else ua.VariantType.Int16
            self.nodes[name] = await gate.add_variable(named(name), name, val=ua.Variant(value, kind))
            await self.nodes[name].set_writable()
        server.subscribe_server_callback(CallbackType.PreWrite, self._written)
        await server.start()

    def _written(self, event: Any, _dispatcher: Any) -> None:
        """Called by the server for every write request, before it is carried out."""
        if event.is_external:
            for write in event.request_params.NodesToWrite:
                name = str(write.NodeId.Identifier)
                if name.startswith("Flag"):
                    self.note(int(name.removeprefix("Flag")), is_on=bool(write.Value.Value.Value))


class MuteController:
    """Takes connections and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        return len(self._taken)

    def close(self) -> None:
        # shutdown wakes the thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_START_S)
        for taken in self._taken:
            taken.close()

    def _run(self) -> None:
        while True:
            try:
                self._taken.append(self._listener.accept()[0])
            except OSError:
                return
