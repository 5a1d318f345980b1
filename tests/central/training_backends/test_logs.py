# SPDX-License-Identifier: Apache-2.0
"""The log of a training, page by page: nothing is lost, doubled or cut in the middle of a letter."""

from pathlib import Path

import pytest

from central.training_backends.results import LOG_NAME, keep_log, read_page

SAID = "Prüfling № 7: Kratzer – größer als erlaubt 🙂\n" * 40


@pytest.mark.parametrize("most", [4, 5, 7, 64, 100_000])
def test_pages_joined_are_the_log(tmp_path: Path, most: int) -> None:
    (path := tmp_path / LOG_NAME).write_text(SAID)
    offset, pages = 0, []
    while offset < path.stat().st_size:
        page = read_page(path, offset, most, is_over=True)
        assert page.offset == offset
        assert page.next_offset - offset == len(page.text.encode()) <= most
        assert page.size == len(SAID.encode())
        assert page.text
        offset = page.next_offset
        pages.append(page.text)
    assert "".join(pages) == SAID


@pytest.mark.parametrize("back", range(1, 80))
def test_the_end_is_read_from_a_whole_letter_on(tmp_path: Path, back: int) -> None:
    (path := tmp_path / LOG_NAME).write_text(SAID)
    page = read_page(path, -back, 1_000, is_over=True)
    assert SAID.endswith(page.text)
    assert back - 3 <= len(page.text.encode()) <= back
    assert page.offset == len(SAID.encode()) - len(page.text.encode())


def test_a_letter_that_is_still_being_written_comes_with_the_next_page(tmp_path: Path) -> None:
    path = tmp_path / LOG_NAME
    path.write_bytes("größer".encode()[:3])
    page = read_page(path, 0, 1_000, is_over=False)
    assert (page.text, page.next_offset) == ("gr", 2)
    path.write_bytes("größer".encode())
    assert read_page(path, page.next_offset, 1_000, is_over=False).text == "ößer"


def test_one_that_never_came_whole_does_not_keep_a_reader_for_ever(tmp_path: Path) -> None:
    path = tmp_path / LOG_NAME
    path.write_bytes("größer".encode()[:3])
    page = read_page(path, 0, 1_000, is_over=True)
    assert (page.text, page.next_offset) == ("gr\ufffd", 3)


def test_no_log_is_an_empty_one_and_beyond_its_end_is_nothing(tmp_path: Path) -> None:
    assert read_page(tmp_path / LOG_NAME, 5, 10, is_over=False).size == 0
    (tmp_path / LOG_NAME).write_text("said")
    page = read_page(tmp_path / LOG_NAME, 99, 10, is_over=False)
    assert (page.text, page.offset, page.next_offset, page.size) == ("", 4, 4, 4)


def test_what_earlier_attempts_said_stays_before_what_the_last_one_says(tmp_path: Path) -> None:
    keep_log(tmp_path, 1, "first")
    keep_log(tmp_path, 1, "first, further")
    keep_log(tmp_path, 2, "second")
    keep_log(tmp_path, 2, "second, further\n")
    keep_log(tmp_path, 3, "third")
    said = "first, further\n--- attempt 2 ---\nsecond, further\n--- attempt 3 ---\nthird"
    assert (tmp_path / LOG_NAME).read_text() == said
