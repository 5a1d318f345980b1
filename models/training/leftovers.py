# SPDX-License-Identifier: Apache-2.0
"""What a killed run, or a power cut, leaves in a folder of results, told from what somebody else keeps there.

Reads alone: what to do about it `results` decides. A record that was cut off is known by how it begins, since all of
ours begin alike. Called by `results`.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from contracts.jobs import TrainingProgress
from models.staging import is_strange, staging_of

# Progress and evaluation begin so, whatever their version; the page begins with the last.
_OPENING: Final = b'{"schema_version":"0.0","training_id":"'
_PAGE_OPENING: Final = b"<!doctype html>"
_READ_BYTES: Final = 4096


def is_progress(path: Path) -> bool:
    """Whether a file is the progress of a run, of whatever version."""
    try:
        TrainingProgress.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return False
    return True


def is_torn(path: Path) -> bool:
    """Whether a file is a record of ours of which only the beginning is there: empty, cut off, or zeros at the end."""
    try:
        if not path.is_file() or path.is_symlink():
            return False
        content = path.read_bytes().rstrip(b"\0")
    except OSError:
        return False
    try:
        json.loads(content)
    except ValueError:
        return _begins_as_ours(content)
    return False


def _begins_as_ours(content: bytes) -> bool:
    begun = re.sub(rb"\d+", b"0", content[:_READ_BYTES])
    return any(begun[: len(each)] == each[: len(begun)] for each in (_OPENING, _PAGE_OPENING))


def strange_parts(folder: Path, *, staged: Sequence[str], written: Sequence[str]) -> list[str]:
    """What stands where results would come about and no run of ours left, by name.

    Args:
        folder: of the results.
        staged: results that are folders.
        written: results that are files; what is half-written of them begins as ours do.
    """
    folders = [path for path in (staging_of(folder / name) for name in staged) if is_strange(path)]
    files = [path for path in (staging_of(folder / name) for name in written) if not may_be_ours(path)]
    return [path.name for path in folders + files]


def may_be_ours(path: Path) -> bool:
    """Whether a place is free, or holds a file that begins as our records and pages do."""
    if path.is_symlink() or not path.exists():
        return not path.is_symlink()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _begins_as_ours(file.read(_READ_BYTES).rstrip(b"\0"))
