# SPDX-License-Identifier: Apache-2.0
"""Files and sets of results are replaced whole; links, pipes and devices stay what they are."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from models.errors import InputError
from models.files import Replacement, alone_in, write_whole

NAMES = ("evaluation.json", "package", "report.html")


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"before")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"after"


def test_what_is_no_file_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"figures")
    reader.join(10)
    assert came == [b"figures"]
    assert pipe.is_fifo()


def _results(folder: Path, text: str, *, is_whole: bool = True) -> None:
    (folder / "package").mkdir(exist_ok=True)
    for name in ("package/a", "report.html", *(["evaluation.json"] if is_whole else [])):
        (folder / name).write_text(text)


def _seen(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(name="earlier")
def _earlier(tmp_path: Path) -> dict[str, str]:
    _results(tmp_path, "earlier")
    (tmp_path / "other").write_text("of somebody else")
    return _seen(tmp_path)


def test_results_that_fail_half_way_bring_the_earlier_ones_back(tmp_path: Path, earlier: dict[str, str]) -> None:
    results = Replacement(tmp_path, NAMES)
    results.undo()
    assert _seen(tmp_path) == earlier, "nothing was begun"
    results.begin()
    assert {path.name for path in tmp_path.iterdir()} == {".earlier", "other"}
    (tmp_path / "package").mkdir()
    (tmp_path / "report.html").write_text("new")
    results.undo()
    assert _seen(tmp_path) == earlier


def test_whole_results_let_the_earlier_ones_go(tmp_path: Path, earlier: dict[str, str]) -> None:
    results = Replacement(tmp_path, NAMES)
    results.begin()
    _results(tmp_path, "new")
    results.keep()
    results.undo()
    assert _seen(tmp_path) == {name: "new" if name != "other" else text for name, text in earlier.items()}


@pytest.mark.parametrize("is_whole", [False, True])
def test_after_a_kill_whole_results_stay_and_half_ones_go(
    tmp_path: Path, earlier: dict[str, str], is_whole: bool
) -> None:
    Replacement(tmp_path, NAMES).begin()
    _results(tmp_path, "new")
    if not is_whole:
        (tmp_path / "evaluation.json").unlink()
    Replacement(tmp_path, NAMES).recover()
    assert not (tmp_path / ".earlier").exists()
    assert _seen(tmp_path)["package/a"] == ("new" if is_whole else "earlier")
    assert _seen(tmp_path).keys() == earlier.keys()


class Killed(BaseException):
    """kill -9: nothing of ours runs after it."""


@contextmanager
def _fault(at: int, error: BaseException, *, is_last: bool) -> Iterator[list[str]]:
    """The step `at` on the disk fails, and with `is_last` all after it; tells which steps failed."""
    steps, failed = [0], list[str]()
    with pytest.MonkeyPatch.context() as patched:

        def failing(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
            def step(*given: Any, **named: Any) -> Any:
                steps[0] += 1
                if steps[0] == at or (is_last and steps[0] > at):
                    failed.append(name)
                    raise error
                return act(*given, **named)

            return step

        for name in ("mkdir", "replace", "unlink", "rmdir"):
            patched.setattr(os, name, failing(name, getattr(os, name)))
        yield failed


def _replace(folder: Path, *, is_whole: bool) -> None:
    """As `leave_results` does; not `is_whole`: what makes the new results count cannot be written."""
    results = Replacement(folder, NAMES)
    results.recover()
    try:
        results.begin()
        _results(folder, "new", is_whole=is_whole)
    except Exception:
        results.undo()
        raise
    if is_whole:
        results.keep()
    else:
        results.undo()


@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.EPERM, "not permitted"), Killed()])
def test_wherever_it_fails_or_is_killed_the_next_look_finds_all_of_the_earlier_results_or_all_of_the_new(
    tmp_path: Path, error: BaseException, is_last: bool, is_whole: bool
) -> None:
    for at in range(1, 100):
        folder = tmp_path / str(at)
        folder.mkdir()
        _results(folder, "earlier")
        (folder / "other").write_text("of somebody else")
        with _fault(at, error, is_last=is_last) as failed, suppress(OSError, InputError, Killed):
            _replace(folder, is_whole=is_whole)
        if not failed:
            assert at > 8, "the steps were not those of the disk"
            return
        Replacement(folder, NAMES).recover()
        seen = _seen(folder)
        assert seen.pop("other") == "of somebody else"
        assert set(seen) == {"package/a", "report.html", "evaluation.json"}, (at, failed)
        assert set(seen.values()) in ({"earlier"}, {"new"}), (at, failed)
        assert not list(folder.glob(".earlier*"))
    pytest.fail("it never came to an end")


def test_a_result_that_cannot_be_moved_costs_none_of_the_others(tmp_path: Path, earlier: dict[str, str]) -> None:
    results = Replacement(tmp_path, NAMES)
    act = os.replace

    def refuse(source: Path, target: Path) -> None:
        if source == tmp_path / "package":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(source))
        act(source, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(InputError, match=r"package: cannot be replaced \(Operation not permitted\); allow it"):
            results.begin()
        results.undo()
    assert _seen(tmp_path) == earlier


def test_what_somebody_else_keeps_under_the_name_of_the_folder_aside_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / ".earlier").mkdir()
    (tmp_path / ".earlier/letters").write_text("mine")
    with pytest.raises(InputError, match="holds what no run left there"):
        Replacement(tmp_path, NAMES).recover()
    assert _seen(tmp_path) == {".earlier/letters": "mine"}


def test_a_file_of_somebody_else_with_the_name_of_the_lock_is_refused_and_keeps_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("mine")
    with pytest.raises(InputError, match=r"\.lock: holds what no run left there"), alone_in(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "mine"


def test_a_link_with_the_name_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"), alone_in(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_lock_left_empty_by_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with alone_in(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()
