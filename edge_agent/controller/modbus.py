# SPDX-License-Identifier: Apache-2.0
"""A line controller over Modbus TCP, by pymodbus.

Addresses are the numbers of the protocol, counted from 0, as text. Never repeats a request by itself: a pulse that
comes late is worse than none, so its caller decides. Used by the worker threads of outputs and triggers.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_agent.controller.link import no_package
from edge_agent.errors import DeviceError, TransportError

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient
    from pymodbus.pdu import ModbusPDU

_BITS_PER_REGISTER = 16


class ModbusLink:
    """See the module.

    Args:
        host: the controller.
        port: usually 502.
        unit: unit identifier; 1 unless a gateway serves several controllers.
        timeout_s: longest wait for an answer.
        reads_inputs: `read_flag` reads discrete inputs instead of coils.
        number_bits: width of counters, 16 or 32 (two registers, the high one first).
        text_registers: length of texts, two characters a register.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        unit: int = 1,
        timeout_s: float = 0.5,
        reads_inputs: bool = False,
        number_bits: int = 32,
        text_registers: int = 16,
    ) -> None:
        self._host = host
        self._port = port
        self._unit = unit
        self._timeout_s = timeout_s
        self._reads_inputs = reads_inputs
        self._number_registers = number_bits // _BITS_PER_REGISTER
        self._text_registers = text_registers
        self._client: ModbusTcpClient | None = None

    def open(self) -> None:
        """Connect.

        Raises:
            TransportError: nobody listens there.
            DeviceError: pymodbus is not installed.
        """
        try:
            from pymodbus.client import ModbusTcpClient  # noqa: PLC0415 - optional, and not on the station's light path
        except ImportError as error:
            raise no_package("modbus") from error
        self.close()
        client = ModbusTcpClient(self._host, port=self._port, timeout=self._timeout_s, retries=0)
        if not client.connect() or client.socket is None:
            raise self._away("cannot connect")
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def write_flag(self, address: str, *, is_on: bool) -> None:
        """Write a coil. Raises as `ControllerLink` says."""
        where = int(address)
        self._ask(f"coil {where}", lambda client: client.write_coil(where, is_on, device_id=self._unit))

    def write_value(self, address: str, value: str | None) -> None:
        """Write a number into holding registers, the high one first. Raises as `ControllerLink` says."""
        where, count = int(address), self._number_registers
        number = int(value or 0)
        registers = [(number >> _BITS_PER_REGISTER * place) & 0xFFFF for place in reversed(range(count))]
        self._ask(
            f"writing holding registers {where} … {where + count - 1}",
            lambda client: client.write_registers(where, registers, device_id=self._unit),
        )

    def read_flag(self, address: str) -> bool:
        """Read a coil, or a discrete input. Raises as `ControllerLink` says."""
        where = int(address)
        if self._reads_inputs:
            answer = self._ask(
                f"input {where}", lambda client: client.read_discrete_inputs(where, count=1, device_id=self._unit)
            )
        else:
            answer = self._ask(f"coil {where}", lambda client: client.read_coils(where, count=1, device_id=self._unit))
        return bool(answer.bits[0])

    def read_number(self, address: str) -> int:
        """Read a counter from holding registers. Raises as `ControllerLink` says."""
        number = 0
        for register in self._registers(int(address), self._number_registers):
            number = (number << _BITS_PER_REGISTER) | register
        return number

    def read_text(self, address: str) -> str:
        """Read a text from holding registers, the first character in the high byte. Raises as `ControllerLink` says."""
        registers = self._registers(int(address), self._text_registers)
        packed = b"".join(register.to_bytes(2, "big") for register in registers)
        return packed.split(b"\0", maxsplit=1)[0].decode("utf-8", "replace").strip()

    def _registers(self, where: int, count: int) -> list[int]:
        answer = self._ask(
            f"holding registers {where} … {where + count - 1}",
            lambda client: client.read_holding_registers(where, count=count, device_id=self._unit),
        )
        if len(answer.registers) < count:
            raise self._away(f"expected {count} registers, got {len(answer.registers)}")
        return [int(register) for register in answer.registers[:count]]

    def _ask(self, what: str, request: "Callable[[ModbusTcpClient], ModbusPDU]") -> "ModbusPDU":
        from pymodbus.exceptions import ModbusException  # noqa: PLC0415 - see `open`

        client = self._client
        if client is None or client.socket is None:
            # pymodbus would connect anew by itself, behind the back of whoever counts on a known coil.
            raise self._away("not connected")
        try:
            answer = request(client)
        except (ModbusException, OSError) as error:
            raise self._away(f"no answer on {what} within {self._timeout_s:g} s ({error})") from error
        if answer.isError():
            code = getattr(answer, "exception_code", "?")
            msg = f"line controller at tcp://{self._host}:{self._port} refused {what}: Modbus exception {code}"
            raise DeviceError(msg, remedy="correct the address or the unit, or free it in the controller")
        return answer

    def _away(self, why: str) -> TransportError:
        return TransportError(
            f"line controller at tcp://{self._host}:{self._port}: {why}",
            remedy="check the controller, its network and the url",
        )
