# SPDX-License-Identifier: Apache-2.0
"""Files and sets of results are replaced whole; links, pipes and devices stay what they are."""

import os
import threading
from pathlib import Path

import pytest

from models.files import Replacement, write_whole

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


def _results(folder: Path, text: str) -> None:
    (folder / "package").mkdir(exist_ok=True)
    for name in ("package/a", "report.html", "evaluation.json"):
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
