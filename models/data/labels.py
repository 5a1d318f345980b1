# SPDX-License-Identifier: Apache-2.0
"""A file of labels: which pictures are sound, which are defective, and what is known of them.

CSV with a first line of column names, separated by commas, semicolons or tabs, UTF-8:

| column | meaning |
|---|---|
| path | the picture, from the folder of pictures on, or absolute |
| judgement | `good` or `defective` |
| defect_class | optional; name of the defect, for defective ones only |
| group | optional; the physical part: all its pictures stand on one side of the split |
| mask | optional; picture of the defect's place, from the folder of pictures on |

A wrong line refuses the whole file, so that a slip of the pen never becomes a judgement; a file that is missing is left
out by name (`data.layouts`). Opens no picture. Called by `training` and
`measuring`.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.data.pictures import read_bytes
from models.errors import InputError
from models.settings import Settings

_REQUIRED: Final = ("path", "judgement")
_KNOWN: Final = (*_REQUIRED, "defect_class", "group", "mask")
_JUDGEMENTS: Final = {"good": False, "defective": True}
_LONGEST: Final = {"defect_class": 64, "group": 200}
# So many faults are told at once; the rest is counted.
_MOST_TOLD: Final = 5


@dataclass(frozen=True)
class Label:
    """One line. `name`: the path as written; `place`: where it stands, for messages."""

    path: Path
    name: str
    place: str
    is_defective: bool
    defect_class: str | None = None
    group: str | None = None
    mask: Path | None = None


def read_labels(file: Path, folder: Path, settings: Settings) -> list[Label]:
    """The labels of a file; paths are taken from `folder` on.

    Raises:
        InputError: not readable, not such a file, or lines that are wrong; names up to five with their numbers.
    """
    try:
        text = read_bytes(file, settings.max_labels_bytes, what="a file of labels").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"labels {file}: expected UTF-8, byte {error.start} is not; save it as CSV UTF-8") from error
    except InputError as error:
        raise InputError(f"labels: {error}") from error
    first = text.splitlines()[0] if text.strip() else ""
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines = ((reader.line_num, cells) for cells in reader)
    try:
        columns = [column.strip().lower() for column in next(lines, (1, []))[1]]
        _check_columns(file, columns)
        labels, faults = _read_lines(file, folder, lines, columns)
    except csv.Error as error:
        raise InputError(f"labels {file} line {reader.line_num}: {error}; check the quotation marks") from error
    if faults:
        more = f"; and {len(faults) - _MOST_TOLD} more" if len(faults) > _MOST_TOLD else ""
        raise InputError(f"labels {file}: {'; '.join(faults[:_MOST_TOLD])}{more}")
    if not labels:
        raise InputError(f"labels {file}: no line after the column names; add one line a picture")
    return labels


def _check_columns(file: Path, columns: list[str]) -> None:
    missing = [column for column in _REQUIRED if column not in columns]
    unknown = [column for column in columns if column not in _KNOWN]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if missing or unknown or twice:
        said = [f"no column {', '.join(missing)}"] if missing else []
        said += [f"unknown column {', '.join(map(repr, unknown))}"] if unknown else []
        said += [f"column {', '.join(twice)} twice"] if twice else []
        raise InputError(
            f"labels {file} line 1: {'; '.join(said)}; expected {', '.join(_KNOWN)}, the last three optional"
        )


def _read_lines(
    file: Path, folder: Path, lines: Iterator[tuple[int, list[str]]], columns: list[str]
) -> tuple[list[Label], list[str]]:
    labels: dict[Path, Label] = {}
    faults: list[str] = []
    for number, cells in lines:
        line = f"line {number}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            faults.append(f"{line}: expected {len(columns)} cells, got {len(cells)}")
            continue
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
        fault = _fault_of(row)
        if fault is not None:
            faults.append(f"{line}: {fault}")
            continue
        label = Label(
            path=folder / row["path"], name=row["path"], place=f"{file.name} {line}",
            is_defective=_JUDGEMENTS[row["judgement"].lower()], defect_class=row.get("defect_class") or None,
            group=row.get("group") or None, mask=folder / row["mask"] if row.get("mask") else None,
        )  # fmt: skip
        # Relative, absolute or by a link: the same picture has one judgement.
        earlier = labels.setdefault(label.path.resolve(), label)
        if earlier is not label:
            faults.append(f"{line}: {label.name} stands in {earlier.place.removeprefix(file.name).strip()} already")
    return list(labels.values()), faults


def _fault_of(row: dict[str, str]) -> str | None:
    """The first thing wrong with a line; None: nothing."""
    judgement = row["judgement"].lower()
    faults = [
        (not row["path"], "no path"),
        ("\0" in row["path"] + row.get("mask", ""), "a path holds a zero byte"),
        (judgement not in _JUDGEMENTS, f"judgement: expected good or defective, got {row['judgement']!r}"),
    ]
    faults += [
        (judgement == "good" and bool(row.get(column)), f"a good part has no {column}, got {row.get(column)!r}")
        for column in ("defect_class", "mask")
    ]
    faults += [
        (len(row.get(column, "")) > longest, f"{column}: expected at most {longest} characters")
        for column, longest in _LONGEST.items()
    ]
    return next((fault for applies, fault in faults if applies), None)
