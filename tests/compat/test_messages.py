# SPDX-License-Identifier: Apache-2.0
"""Messages of every day stay readable, and there is a stored one of each kind."""

import importlib
import pkgutil
import typing
from pathlib import Path

import pytest

import contracts
from contracts.base import Message
from contracts.codec import CodecError, decode
from contracts.commands import AssignPackage, StationCommand
from contracts.frames import FrameHeader, unpack_frame
from contracts.manifest import PackageManifest
from contracts.reports import PackageStatus
from edge_agent.packages.trust import PackageRefused, load_assignment_key, open_envelope
from tests.schemas import SHAPES

FOLDER = Path(__file__).parent
MESSAGES = sorted(path for path in (FOLDER / "messages").rglob("*") if path.suffix in (".json", ".slf1"))
HEADER = "frame-header"


def kind_of(path: Path) -> str:
    return path.name.split(".")[0]


def kinds_in_contracts() -> set[type]:
    """Every whole message that some module of `contracts` defines."""
    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"contracts.{module.name}")
    found: set[type] = set()
    waiting: list[type] = [Message]
    while waiting:
        below: list[type] = waiting.pop().__subclasses__()
        for each in below:
            waiting.append(each)
            if each.__module__.startswith("contracts."):
                found.add(each)
    return found | {FrameHeader}


def commands() -> set[str]:
    """The words by which commands to a station are told apart."""
    union = typing.get_args(StationCommand.model_fields["command"].annotation)
    return {each.model_fields["type"].default for each in union}


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_stored_message_stays_readable(path: Path) -> None:
    if kind_of(path) == HEADER:
        header, picture = unpack_frame(path.read_bytes())
        assert (header.trigger_number, picture) == (41, bytes(range(12)))
        return
    shape = SHAPES[kind_of(path)]
    assert issubclass(shape, Message)
    decode(shape, path.read_bytes())


def test_every_kind_of_message_has_a_stored_one() -> None:
    stored = {SHAPES[kind_of(path)] for path in MESSAGES}
    missing = sorted(each.__name__ for each in kinds_in_contracts() - stored)
    assert not missing, f"store one of each under tests/compat/messages, as its README says: {', '.join(missing)}"


def test_every_kind_of_command_has_a_stored_one() -> None:
    stored = [path for path in MESSAGES if kind_of(path) == "station-command"]
    found = {decode(StationCommand, path.read_bytes()).command.type for path in stored}
    assert commands() == found


def test_kind_that_nobody_stored_would_be_noticed() -> None:
    class Newcomer(Message):
        """A message of tomorrow."""

    Newcomer.__module__ = "contracts.tomorrow"
    assert Newcomer in kinds_in_contracts()
    Newcomer.__module__ = __name__


def test_what_later_forms_say_is_read() -> None:
    folder = FOLDER / "messages" / "v1"
    assignment = decode(AssignPackage, (folder / "assign-package.urgent.json").read_bytes())
    assert assignment.packages[0].is_urgent
    assert not decode(AssignPackage, (folder / "assign-package.json").read_bytes()).packages[0].is_urgent
    ring, board = decode(PackageStatus, (folder / "package-status.downloading.json").read_bytes()).packages
    assert (ring.bytes_done, ring.bytes_total, ring.bytes_reused) == (1_200_000, 8_500_000, 900_000)
    assert board.waits_until is not None
    manifest = decode(PackageManifest, (folder / "package-manifest.chunks.json").read_bytes())
    assert [len(file.chunks) for file in manifest.files] == [3, 0, 3]


def test_assignment_that_was_sealed_once_still_verifies() -> None:
    key = load_assignment_key((FOLDER / "trust" / "v1" / "assignment.pub").read_bytes())
    sealed = (FOLDER / "trust" / "v1" / "assignment.dsse.json").read_bytes()
    assert open_envelope(sealed, key).assignment.number == 7
    with pytest.raises(PackageRefused):
        open_envelope(sealed.replace(b'"payload": "', b'"payload": "A', 1), key)


def test_unknown_kind_of_command_is_refused_and_not_guessed() -> None:
    with pytest.raises(CodecError):
        decode(StationCommand, b'{"issued_at":"2026-11-21T00:00:00Z","command":{"type":"fly"}}')
