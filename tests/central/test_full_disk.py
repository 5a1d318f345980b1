# SPDX-License-Identifier: Apache-2.0
"""Where a command cannot write is one sentence, never a traceback; nothing half-written is left."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.__main__ import main
from central.trust.enrolment import open_repository
from tests.central.test_keys_command import Operator, _initial, _operator
from tests.edge import tiny_package

__all__ = ["_initial", "_operator"]


@pytest.fixture(name="under_way")
def _under_way(operator: Operator) -> Operator:
    assert operator.ceremony("anna", "bo") == 0
    assert operator("rotate", "assignment", "--why", "yearly", "--yes", *operator.by("anna")) == 0
    return operator


@pytest.fixture(name="full")
def _full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The disk has room for so many files more (`full[0]`), then for none."""
    room, write = [0], os.fsync

    def sync(handle: int) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(handle)

    monkeypatch.setattr(os, "fsync", sync)
    yield room
    monkeypatch.undo()


@pytest.mark.parametrize("what", ["folder", "pipe", "link", "proc"])
def test_copy_is_written_over_nothing_but_a_plain_file(under_way: Operator, what: str) -> None:
    path = under_way.folder / "copy.json"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to("/dev/null")
    else:
        path = Path("/proc/x.json")
    assert under_way("sign", "--export", str(path)) == 2
    assert under_way.error.count("\n") == 1
    assert "--export: " in under_way.error
    assert path.is_dir() is (what == "folder")
    assert path.is_fifo() is (what == "pipe")
    assert path.is_symlink() is (what == "link")


def test_copy_takes_the_place_of_an_older_one(under_way: Operator) -> None:
    path = under_way.folder / "copy.json"
    path.write_text("of before")
    assert under_way("sign", "--export", str(path)) == 0
    assert "of before" not in path.read_text()


@pytest.mark.parametrize("room", [0, 1, 2])
def test_key_is_exchanged_on_a_full_disk_not_at_all_and_later_whole(
    operator: Operator, full: list[int], room: int
) -> None:
    before, full[0] = operator.tree(), room
    assert operator("rotate", "packaging", "--why", "yearly", "--yes") == 1
    assert "no room left on the disk" in operator.error
    assert operator.error.count("\n") == 1
    assert operator.tree() == before
    full[0] = 1000
    assert operator("rotate", "packaging", "--why", "yearly", "--yes") == 0
    assert "done: rotate packaging" in operator.said


@pytest.mark.parametrize(("room", "is_copied"), [(0, False), (1, False), (3, True)])
def test_package_is_imported_on_a_full_disk_not_at_all_and_later_whole(
    operator: Operator, full: list[int], room: int, is_copied: bool
) -> None:
    folder, plant = operator.folder / "package", operator.folder / "plant"
    tiny_package.write_package(folder)
    words = ["package", "import", str(folder), "--data", str(plant), "--note", "first", "--by", "anna"]
    targets, full[0] = plant / "trust" / "tuf" / "targets", room
    assert main(words) == 1
    # Half a copy goes; a whole one, which nobody names yet, is of use the next time.
    assert (targets.exists() and list(targets.iterdir()) != []) is is_copied
    assert open_repository(plant / "trust").named() == frozenset()
    full[0] = 1000
    assert main(words) == 0
    assert len(open_repository(plant / "trust").named()) > 0
