# SPDX-License-Identifier: Apache-2.0
"""`sightline-edge doctor`: every check, one after the other, each bounded in time.

Changes nothing: no setting, no package, nothing at broker or central. May run beside a station that is at work. The
checks are in the modules beside this one. Called by `commissioning.command`.
"""

import threading
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock
from edge_agent.commissioning.broker_check import check_broker
from edge_agent.commissioning.camera_check import check_camera
from edge_agent.commissioning.central_check import check_central
from edge_agent.commissioning.changeover_check import check_changeover
from edge_agent.commissioning.findings import Finding, fail, ok
from edge_agent.commissioning.machine_check import check_alone, check_disk, is_in_use
from edge_agent.commissioning.package_check import check_packages, check_provider, check_trust
from edge_agent.errors import SettingsError
from edge_agent.settings import Settings, load_settings

_LONGEST_S: Final = 20.0
# A self-test opens a graph and runs every golden image.
_LONGEST_PACKAGE_S: Final = 120.0

Check = Callable[[], list[Finding]]


def examine(path: Path, clock: Clock, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Every finding on the station of this settings file, in the order in which a person should look at them."""
    try:
        settings = load_settings(path, environ)
    except SettingsError as error:
        remedy = "correct this; everything else was not looked at"
        return [fail("settings", fault, remedy) for fault in error.faults]
    findings = [ok("settings", f"{path}: no fault")]
    for name, check, longest_s in _checks(settings, path.parent, clock):
        findings += bounded(name, check, longest_s)
    return findings


def bounded(name: str, check: Check, longest_s: float) -> list[Finding]:
    """Run a check for at most so long; a check that fails or hangs is a finding of its own."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except Exception as error:  # noqa: BLE001 - the other checks must still be made
            text = f"the check itself failed: {type(error).__name__}: {error}"
            found.append(fail(name, text, "please report this as a fault of sightline-edge doctor"))

    thread = threading.Thread(target=run, name=f"check-{name}", daemon=True)
    thread.start()
    thread.join(longest_s)
    if thread.is_alive():
        return [fail(name, f"no answer within {longest_s:.0f} s", "a device or driver hangs: restart this machine")]
    return found


def _checks(settings: Settings, folder: Path, clock: Clock) -> list[tuple[str, Check, float]]:
    is_running = is_in_use(settings.data_dir)
    return [
        ("data_dir", lambda: [check_alone(settings)], _LONGEST_S),
        ("disk", lambda: check_disk(settings, clock), _LONGEST_S),
        ("trust", lambda: check_trust(settings), _LONGEST_S),
        ("provider", lambda: [check_provider(settings)], _LONGEST_S),
        ("package", lambda: check_packages(settings, clock), _LONGEST_PACKAGE_S),
        ("camera", lambda: check_camera(settings, clock, is_running=is_running, folder=folder), _LONGEST_S),
        ("changeover", lambda: check_changeover(settings.changeover), _LONGEST_S),
        ("broker", lambda: check_broker(settings.broker), _LONGEST_S),
        ("central", lambda: check_central(settings.central, clock, _version()), _LONGEST_S),
    ]


def _version() -> str:
    try:
        return metadata.version("sightline")
    except metadata.PackageNotFoundError:
        return "0"
