# SPDX-License-Identifier: Apache-2.0
"""Settings of the way to central: its proxy, and when and how fast packages are downloaded.

Opens nothing. Called by `settings`.
"""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from contracts.maintenance import Window
from edge_agent.packages.windows import MaintenanceWindows, parse_window
from edge_agent.settings_reader import SettingsReader
from edge_agent.value_checks import check_url

# Less would not hold a connection open.
_LEAST_BYTES_PER_S: Final = 4096


@dataclass(frozen=True)
class ProxySettings:
    """An HTTP proxy between the station and central."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def auth(self) -> tuple[str, str] | None:
        """Name and password, where the proxy wants them."""
        return None if self.username is None else (self.username, self.password or "")


@dataclass(frozen=True)
class DownloadSettings:
    """How packages may come. `max_bytes_per_s` 0: as fast as they do; all stations of a process share it."""

    max_bytes_per_s: int = 0
    windows: MaintenanceWindows | None = None


def read_proxy(reader: SettingsReader) -> ProxySettings | None:
    """`central.proxy` and what goes with it."""
    url = reader.text("central.proxy", "")
    username = reader.text("central.proxy_username", "") or None
    password = reader.text("central.proxy_password", "", is_secret=True) or None
    if not url:
        for key, value in (("central.proxy_username", username), ("central.proxy_password", password)):
            if value is not None:
                reader.fault(key, "expected central.proxy beside it, got none")
        return None
    check_url(reader, "central.proxy", url, ("http", "https"))
    if "@" in urlsplit(url).netloc:
        # Shown in the log with everything else: no place for a password.
        reader.fault("central.proxy", "expected no user in it; use central.proxy_username and central.proxy_password")
    if password is not None and username is None:
        reader.fault("central.proxy_password", "expected central.proxy_username beside it, got none")
    return ProxySettings(url, username, password)


def read_downloads(reader: SettingsReader) -> DownloadSettings:
    """The section `downloads`."""
    limit = reader.integer("downloads.max_bytes_per_s", 0, low=0, high=10**10)
    if 0 < limit < _LEAST_BYTES_PER_S:
        expected = f"0 (no limit) or at least {_LEAST_BYTES_PER_S}"
        reader.fault("downloads.max_bytes_per_s", f"expected {expected}, got {limit}")
    texts = reader.texts("downloads.windows")
    zone_name = reader.text("downloads.time_zone", "")
    windows: list[Window] = []
    for text in texts:
        try:
            windows.append(parse_window(text))
        except ValueError as error:
            reader.fault("downloads.windows", str(error))
    if not zone_name:
        if texts:
            reader.fault("downloads.time_zone", 'expected the plant\'s time zone, such as "Europe/Berlin", got nothing')
        return DownloadSettings(limit)
    try:
        zone = ZoneInfo(zone_name)
    except (KeyError, OSError, ValueError):
        # Unknown; no database on this machine; a name that is no name.
        expected = 'a name of the IANA time zone database, such as "Europe/Berlin" (is tzdata installed?)'
        reader.fault("downloads.time_zone", f"expected {expected}, got {zone_name!r}")
        return DownloadSettings(limit)
    return DownloadSettings(limit, MaintenanceWindows(zone, tuple(windows)) if windows else None)
