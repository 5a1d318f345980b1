# SPDX-License-Identifier: Apache-2.0
"""The SQLite index of the ring of pictures: its schema, its rows, and opening it.

Moves no picture and decides nothing. Used by `reporting.ring` alone.
"""

import sqlite3
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final

from contracts.commands import InspectionKey
from contracts.vocabulary import EvidenceKind

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS picture (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    form TEXT NOT NULL DEFAULT 'png',
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    is_simulated INTEGER NOT NULL,
    wish INTEGER NOT NULL,
    UNIQUE (epoch, sequence, kind)
);
CREATE INDEX IF NOT EXISTS picture_wish ON picture (wish, id) WHERE wish > 0;
CREATE TABLE IF NOT EXISTS missing (epoch INTEGER, sequence INTEGER, PRIMARY KEY (epoch, sequence)) WITHOUT ROWID;
"""
_ADD_FORM: Final = "ALTER TABLE picture ADD COLUMN form TEXT NOT NULL DEFAULT 'png'"


class Wish(IntEnum):
    """Whether a picture is to be uploaded. Greater goes first: an audit waits for a requested one."""

    KEPT = 0
    AUTOMATIC = 1
    REQUESTED = 2


class Form(StrEnum):
    """What a picture's file holds, by the ending of its name. Central takes PNG alone."""

    PNG = "png"
    BMP = "bmp"


@dataclass(frozen=True)
class Picture:
    """One picture in the ring. `sha256` and `size_bytes` are those of its file in the present form."""

    picture_id: int
    key: InspectionKey
    kind: EvidenceKind
    form: Form
    sha256: str
    size_bytes: int
    is_simulated: bool
    wish: Wish


def open_index(path: Path) -> sqlite3.Connection:
    """The index of a ring; made when absent. One of before there was a choice of forms holds PNG alone.

    Raises:
        sqlite3.DatabaseError: it is damaged.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(str(found))  # noqa: TRY301 - same road as SQLite's own finding
        connection.executescript(_SCHEMA)
        if "form" not in {row[1] for row in connection.execute("PRAGMA table_info(picture)")}:
            connection.execute(_ADD_FORM)
    except BaseException:
        connection.close()
        raise
    return connection
