# SPDX-License-Identifier: Apache-2.0
"""Column types that behave alike on SQLite and PostgreSQL.

Times come back aware, words come back as their enum, long numbers fit. Holds no table; `store/tables.py` and
`store/learning_tables.py` use it.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String
from sqlalchemy.types import TypeDecorator

_W = TypeVar("_W", bound=StrEnum)

# SQLite numbers rows only in a column that is spelt INTEGER.
RowNumber = BigInteger().with_variant(Integer(), "sqlite")
LongNumber = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC time. SQLite has no time zones: there it is stored as naive UTC and given its zone back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database; a naive time is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"time: expected an aware datetime, got {value!r}"
            raise ValueError(msg)
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - fixed by SQLAlchemy
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(TypeDecorator[_W], Generic[_W]):
    """A word of a closed list, stored as text: adding a word needs no change of the database's types."""

    impl = String
    cache_ok = True

    def __init__(self, words: type[_W]) -> None:
        self.words = words
        super().__init__(length=32)

    def process_bind_param(self, value: _W | str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - fixed by SQLAlchemy
        """To the database."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> _W | None:  # noqa: ARG002 - fixed by SQLAlchemy
        """From the database."""
        return None if value is None else self.words(value)
