# SPDX-License-Identifier: Apache-2.0
"""Checks of single values that several sections of the settings share: names and addresses.

Read nothing; a wrong value becomes a fault of its key. Used by `settings` and `source_settings`.
"""

from typing import Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from contracts.ids import Name
from edge_agent.settings_reader import SettingsReader

_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


def check_name(reader: SettingsReader, key: str, value: str) -> None:
    """Note a fault when the value cannot be a part of a topic."""
    try:
        _NAME.validate_python(value)
    except ValidationError:
        reader.fault(key, f"expected a-z, 0-9, _ and - (at most 63, no leading dash), got {value!r}")


def check_url(
    reader: SettingsReader, key: str, value: str, schemes: tuple[str, ...], *, needs_port: bool = False
) -> None:
    """Note a fault when the value is no address of one of these schemes."""
    expected = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    try:
        parts = urlsplit(value)
        is_right = parts.scheme in schemes and bool(parts.hostname) and (parts.port is not None or not needs_port)
    except ValueError:
        is_right = False
    if not is_right:
        reader.fault(key, f"expected {expected}, got {value!r}")
