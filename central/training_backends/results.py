# SPDX-License-Identifier: Apache-2.0
"""What a trainer leaves in a folder, as every backend reads it: progress, evaluation, log. Starts and moves nothing."""

import codecs
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from central.training_backends.seam import TrainingBackendError
from central.trust.keys import write_whole
from contracts.jobs import EVALUATION_NAME, PROGRESS_NAME, EvaluationReport, TrainingProgress

LOG_NAME: Final = "trainer.log"
_TAIL_BYTES: Final = 2_000
_MOST_UTF8_BYTES: Final = 4


@dataclass(frozen=True)
class LogPage:
    """A piece of a log. Offsets are bytes from its beginning; `size` is what there is by now."""

    text: str
    offset: int
    next_offset: int
    size: int


def read_progress(output: Path) -> TrainingProgress | None:
    """Where it stands, by its own word; None before the first word. It is rewritten whole, so never half read."""
    try:
        return TrainingProgress.model_validate_json((output / PROGRESS_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def has_evaluation(output: Path) -> bool:
    """Whether the results are whole."""
    return (output / EVALUATION_NAME).is_file()


def read_evaluation(output: Path) -> EvaluationReport:
    """The result; to be read once `has_evaluation` says that everything else is whole.

    Raises:
        TrainingBackendError: it cannot be read or is no evaluation.
    """
    try:
        return EvaluationReport.model_validate_json((output / EVALUATION_NAME).read_bytes())
    except OSError as error:
        raise TrainingBackendError(f"{EVALUATION_NAME}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise TrainingBackendError(f"{EVALUATION_NAME}: {first['loc']}: {first['msg']}") from error


def read_tail(path: Path, most_bytes: int = _TAIL_BYTES) -> str:
    """The end of a log; empty where there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - most_bytes))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return ""


def mark_of(number: int) -> str:
    """The line of a log under which an attempt's words stand; the first has none."""
    return f"--- attempt {number} ---\n" if number > 1 else ""


def keep_log(folder: Path, number: int, said: str) -> None:
    """All that attempt `number` has said, in place of what was known of it; what earlier ones said stays before it.

    Raises:
        OSError: it cannot be written.
    """
    try:
        known = (folder / LOG_NAME).read_bytes().decode(errors="replace")
    except FileNotFoundError:
        known = ""
    mark = mark_of(number)
    earlier = known.partition(mark)[0] if mark else ""
    if earlier and not earlier.endswith("\n"):
        earlier += "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / LOG_NAME, f"{earlier}{mark}{said}".encode())


def read_page(path: Path, offset: int, most_bytes: int, *, is_over: bool) -> LogPage:
    """At most so many bytes of a log from `offset` on; negative: so many before its end. No log is an empty one.

    A letter that is cut by the end of the page, or (unless `is_over`) not yet written whole, comes with the next page.
    """
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            start = min(offset, size) if offset >= 0 else max(0, size + offset)
            log.seek(start)
            raw = log.read(most_bytes)
    except FileNotFoundError:
        return LogPage("", 0, 0, 0)
    if offset < 0:
        # The middle of a letter is no beginning.
        cut = next((index for index, byte in enumerate(raw[:_MOST_UTF8_BYTES]) if byte & 0xC0 != 0x80), 0)
        start, raw = start + cut, raw[cut:]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(raw, final=is_over and start + len(raw) >= size)
    return LogPage(text, start, start + len(raw) - len(decoder.getstate()[0]), max(size, start + len(raw)))
