# SPDX-License-Identifier: Apache-2.0
"""The seam to the line controller: read and write single flags, numbers and texts over one kept connection.

A link holds no thread, no queue and no retry of its own: every call waits for the answer, at most the link's time
limit. Whoever uses it has a worker thread for that (`actuators.line`, `triggering.modbus`). Implementations:
`controller.modbus`, `controller.opcua`; their packages are optional and imported when a link is opened.
"""

import importlib.util
from typing import Final, Protocol

from edge_agent.errors import DeviceError

# Package that is imported, and the extra that brings it.
NEEDS: Final = {"modbus": ("pymodbus", "modbus"), "opcua": ("asyncua", "opcua")}


class ControllerLink(Protocol):
    """One connection to a line controller. Used by one thread at a time.

    Every call but `close` raises TransportError when the controller is away or does not answer in time (close, open
    again later), and DeviceError when it answers but refuses (wrong address, wrong type, no right): a person must
    look, though trying again does no harm.
    """

    def open(self) -> None:
        """Connect. Not yet a proof that the controller answers: an address must be read or written for that."""
        ...

    def close(self) -> None:
        """Hang up. Never raises; may be called twice."""
        ...

    def write_flag(self, address: str, *, is_on: bool) -> None:
        """Set a coil or a Boolean variable, and wait for the controller's answer."""
        ...

    def write_value(self, address: str, value: str | None) -> None:
        """Write a number or a text, whichever is kept there; None: 0, or an empty text. Waits for the answer."""
        ...

    def read_flag(self, address: str) -> bool:
        """Read a coil, an input or a Boolean variable."""
        ...

    def read_number(self, address: str) -> int:
        """Read a counter, 0 or more; it wraps at the width that the link was made for."""
        ...

    def read_text(self, address: str) -> str:
        """Read a text, without the blanks and zeros around it; empty when there is none."""
        ...


def missing_package(kind: str) -> str | None:
    """What to install for this kind of link; None when it is there (or needs nothing)."""
    if kind not in NEEDS or importlib.util.find_spec(NEEDS[kind][0]) is not None:
        return None
    package, extra = NEEDS[kind]
    return f"needs the package {package}: pip install 'sightline[{extra}]'"


def no_package(kind: str) -> DeviceError:
    """The error of a link whose package is not installed."""
    package, extra = NEEDS[kind]
    return DeviceError(
        f"the package {package} is not installed", remedy=f"pip install 'sightline[{extra}]'", code="package-missing"
    )
