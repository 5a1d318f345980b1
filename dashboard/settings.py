# SPDX-License-Identifier: Apache-2.0
"""Start-up options of the dashboard, read once from `SIGHTLINE_DASHBOARD_*`.

Does not read the token itself: only where it lies, so that it never stands in a process list. Called by
`__main__` (which turns command-line options into these variables) and once a process by `access`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

PREFIX: Final = "SIGHTLINE_DASHBOARD_"


class SettingsError(ValueError):
    """Options that cannot work. The text lists all of them, one a line; show it and stop."""


@dataclass(frozen=True)
class Settings:
    """Effective options.

    `token_file` None: everybody signs in with a token of their own. `time_zone` None: each viewer sees the
    zone of their browser.
    """

    central_url: str
    token_file: Path | None = None
    time_zone: str | None = None
    timeout_s: float = 4.0
    refresh_s: float = 2.0

    def token(self) -> str | None:
        """The configured token, or None when people are to sign in.

        Raises:
            SettingsError: a file is configured but cannot be read or is empty.
        """
        if self.token_file is None:
            return None
        try:
            text = self.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            msg = f"{PREFIX}TOKEN_FILE: expected a readable file, got {self.token_file} ({error.strerror})"
            raise SettingsError(msg) from error
        if not text:
            msg = f"{PREFIX}TOKEN_FILE: expected a token in {self.token_file}, got an empty file"
            raise SettingsError(msg)
        return text


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from an environment.

    Raises:
        SettingsError: names every fault at once.
    """
    faults: list[str] = []
    url = environment.get(f"{PREFIX}CENTRAL", "http://127.0.0.1:8000").rstrip("/")
    split = urlsplit(url)
    if split.scheme not in {"http", "https"} or not split.hostname:
        faults.append(f"{PREFIX}CENTRAL: expected http://host:port or https://host:port, got {url!r}")
    zone = environment.get(f"{PREFIX}TIME_ZONE") or None
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            faults.append(f"{PREFIX}TIME_ZONE: expected a name like Europe/Berlin, got {zone!r}")
    timeout_s = _seconds(environment, "TIMEOUT_S", 4.0, (0.2, 60.0), faults)
    refresh_s = _seconds(environment, "REFRESH_S", 2.0, (0.5, 3600.0), faults)
    if faults:
        raise SettingsError("\n".join(faults))
    file = environment.get(f"{PREFIX}TOKEN_FILE") or None
    return Settings(
        central_url=url,
        token_file=None if file is None else Path(file),
        time_zone=zone,
        timeout_s=timeout_s,
        refresh_s=refresh_s,
    )


def _seconds(
    environment: Mapping[str, str], name: str, default: float, bounds: tuple[float, float], faults: list[str]
) -> float:
    text = environment.get(PREFIX + name)
    if text is None:
        return default
    low, high = bounds
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        faults.append(f"{PREFIX}{name}: expected seconds from {low:g} to {high:g}, got {text!r}")
        return default
    return value
