# SPDX-License-Identifier: Apache-2.0
"""The three answers of a gate, and how a stored gate is read without trusting it.

Decides nothing. Called by every gate of this folder.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

# What `json.loads` gives for an object.
Json = dict[str, Any]

# Raised when a stored state means something else than before; older ones then need a reader of their own.
_VERSION: Final = 1


class Decision(StrEnum):
    """Answer of a gate. CONTINUE is neither good nor bad: there is not enough evidence yet."""

    CONTINUE = "CONTINUE"
    PROMOTE = "PROMOTE"
    ABORT = "ABORT"


def require_share(gate: str, name: str, value: float) -> float:
    """A number strictly between 0 and 1.

    Raises:
        ValueError: anything else.
    """
    number = require_number(gate, name, value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{gate}: expected {name} between 0 and 1, both excluded, got {value!r}")
    return number


def require_number(gate: str, name: str, value: float) -> float:
    """A finite number, which a bool is not.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{gate}: expected {name} to be a finite number, got {value!r}")
    return float(value)


def require_count(gate: str, name: str, value: int, *, at_least: int = 0) -> int:
    """A whole number from `at_least` up.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{gate}: expected {name} to be a whole number of at least {at_least}, got {value!r}")
    return value


def stored(kind: str, **fields: object) -> Json:
    """A state to store, with the gate's kind and the version of its form."""
    return {"gate": kind, "version": _VERSION, **fields}


class StoredState:
    """Reads a stored state field by field; everything that does not fit is a ValueError that names the field."""

    def __init__(self, kind: str, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping) or state.get("gate") != kind or state.get("version") != _VERSION:
            said = {key: state.get(key) for key in ("gate", "version")} if isinstance(state, Mapping) else state
            raise ValueError(f"stored gate: expected the state of a {kind} gate, version {_VERSION}, got {said!r}")
        self.name: Final = f"stored {kind} gate"
        self._state = state

    def field(self, name: str) -> Any:
        """A field as it stands.

        Raises:
            ValueError: there is none.
        """
        if name not in self._state:
            raise ValueError(f"{self.name}: expected a field {name!r}, got {sorted(self._state)}")
        return self._state[name]

    def number(self, name: str) -> float:
        """A finite number."""
        return require_number(self.name, name, self.field(name))

    def count(self, name: str) -> int:
        """A whole number from 0 up."""
        return require_count(self.name, name, self.field(name))

    def counts(self, name: str, length: int) -> list[int]:
        """So many whole numbers from 0 up."""
        found = self.field(name)
        if not isinstance(found, list) or len(found) != length:
            raise ValueError(f"{self.name}: expected {length} counts in {name!r}, got {found!r}")
        return [require_count(self.name, name, count) for count in found]

    def flag(self, name: str) -> bool:
        """True or False."""
        found = self.field(name)
        if found is not True and found is not False:
            raise ValueError(f"{self.name}: expected true or false in {name!r}, got {found!r}")
        return found

    def decision(self) -> Decision:
        """The answer at the time of storing."""
        found = self.field("decision")
        if found not in list(Decision):
            raise ValueError(f"{self.name}: expected one of {', '.join(Decision)}, got {found!r}")
        return Decision(found)
