# SPDX-License-Identifier: Apache-2.0
"""`INSERT … ON CONFLICT` in the dialect of the session's database. Used by the repositories; holds no table."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, case
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from central.store.tables import Row, columns_of


def insert_into(session: Session, row: type[Row]) -> Any:
    """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    table: Table = columns_of(row)
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def add_up(session: Session, row: type[Row], rows: Sequence[dict[str, Any]], *, highest: Sequence[str] = ()) -> None:
    """Insert rows, or add their figures to those that stand under the same primary key.

    Columns named in `highest` keep the larger value instead of the sum.
    """
    if not rows:
        return
    table: Table = columns_of(row)
    statement = insert_into(session, row)
    sums: dict[str, Any] = {}
    for column in table.columns:
        given = statement.excluded[column.name]
        if column.primary_key or column.name not in rows[0]:
            continue
        if column.name in highest:
            # MAX(a, b) and GREATEST(a, b) are one function under two names; CASE is spelt alike everywhere.
            sums[column.name] = _larger(column, given)
        else:
            sums[column.name] = column + given
    keys = [column.name for column in table.primary_key.columns]
    session.connection().execute(statement.on_conflict_do_update(index_elements=keys, set_=sums), list(rows))


def _larger(first: Any, second: Any) -> Any:
    return case((first >= second, first), else_=second)
