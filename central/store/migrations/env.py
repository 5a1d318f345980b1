# SPDX-License-Identifier: Apache-2.0
"""Run by Alembic. The connection comes from `central.store.schema`; there is no other way to run a migration."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import DateTime, String
from sqlalchemy.types import TypeDecorator

from central.store.schema import full_metadata


def plain_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write revisions with the database's own types: history must not change when our column classes do."""
    if kind != "type":
        return False
    inner = item.impl if isinstance(item, TypeDecorator) else item
    if isinstance(inner, DateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(inner, String) and type(inner).__name__ in ("AutoString", "String", "VARCHAR"):
        return f"sa.String(length={inner.length})" if inner.length else "sa.String()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=full_metadata(),
    compare_type=True,
    # SQLite cannot alter a table in place: it is copied.
    render_as_batch=True,
    render_item=plain_type,
)
with context.begin_transaction():
    context.run_migrations()
