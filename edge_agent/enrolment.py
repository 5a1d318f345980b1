# SPDX-License-Identifier: Apache-2.0
"""Enrolment: whom this station trusts, fixed at its first start.

The TUF root and the public assignment key are copied into the station's own folder once; from then on only the
copies count, so that changing a file beside the settings cannot change whom the station obeys. Verifies nothing
with them. Called by the composition root.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securesystemslib.signer import Key

from edge_agent.errors import DeviceError, SettingsError
from edge_agent.packages.store import write_whole
from edge_agent.packages.trust import load_assignment_key
from edge_agent.settings import TrustSettings

_log = logging.getLogger(__name__)

_ROOT_NAME: Final = "root.json"
_KEY_NAME: Final = "assignment.pub"


@dataclass(frozen=True)
class Enrolment:
    """Whom the station trusts.

    Args:
        root: bytes of the first TUF root.
        assignment_key: the only key that may assign packages.
        differing: settings whose file no longer equals the copy; they are ignored.
    """

    root: bytes
    assignment_key: Key
    differing: tuple[str, ...]


def enrol(trust: TrustSettings, folder: Path) -> Enrolment:
    """Take the copies, or make them at the first start.

    Raises:
        SettingsError: first start, and a file is not given, cannot be read or is no key.
        DeviceError: the station's folder cannot be written.
    """
    faults: list[str] = []
    differing: list[str] = []
    contents: dict[str, bytes] = {}
    for key, given, name in (
        ("trust.root", trust.root, _ROOT_NAME),
        ("trust.assignment_key", trust.assignment_key, _KEY_NAME),
    ):
        offered = _read(given)
        kept = _read(folder / name)
        if kept is None and offered is None:
            faults.append(f"{key}: expected a readable file for the first start, got {given}")
        elif kept is None and offered is not None:
            contents[name] = offered
        elif kept is not None:
            contents[name] = kept
            if offered is not None and offered != kept:
                differing.append(key)
                _log.warning("setting ignored, the station was enrolled with another file key=%s", key)
    if faults:
        raise SettingsError(faults)
    assignment_key = load_assignment_key(contents[_KEY_NAME])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            if _read(folder / name) is None:
                write_whole(folder / name, content)
    except OSError as error:
        msg = f"{folder}: cannot keep what enrolment brought: {error}"
        raise DeviceError(msg, remedy="check the disk and the rights of data_dir") from error
    return Enrolment(contents[_ROOT_NAME], assignment_key, tuple(differing))


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None
