# SPDX-License-Identifier: Apache-2.0
"""One engine, SQLite or PostgreSQL, and transactions on it.

Knows pragmas, pools and how the two databases are told apart; knows no table. Built by `central.app` and by the
command line; everybody else is handed a `Database`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlmodel import Session, create_engine

from central.errors import StoreError

BUSY_TIMEOUT_MS: Final = 15_000
# One writer at a time keeps `inspection.id` growing in commit order, which paging relies on.
_INGEST_LOCK: Final = 0x5167_4C49
# First of the two numbers of a product's lock; the second is made of its name.
_PRODUCT_LOCKS: Final = 0x5167


class Database:
    """Engine and transactions. `url`: `sqlite:///path` or `postgresql+psycopg://user@host/name`.

    Raises:
        StoreError: the URL is not one of the two; fix `database_url`.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as error:
            msg = f"database_url: expected sqlite:///PATH or postgresql+psycopg://…, got {url!r}"
            raise StoreError(msg) from error
        self.dialect: Final = self.url.get_backend_name()
        if self.dialect not in ("sqlite", "postgresql"):
            msg = f"database_url: expected sqlite or postgresql, got {self.dialect!r}"
            raise StoreError(msg)
        self.is_sqlite: Final = self.dialect == "sqlite"
        self.engine: Final = self._make_engine()

    def _make_engine(self) -> Engine:
        if not self.is_sqlite:
            return create_engine(self.url, pool_size=10, max_overflow=20, pool_pre_ping=True)
        engine = create_engine(
            self.url,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            pool_size=10,
            max_overflow=20,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        On SQLite it takes the write lock at once, so that two writers wait for each other instead of failing
        half-way. Keep the block short, and keep network and files out of it.
        """
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent read that blocks no writer. What is changed in it is dropped."""
        with (
            self.engine.connect().execution_options(sightline_read=True) as connection,
            Session(bind=connection, expire_on_commit=False, autoflush=False) as session,
        ):
            yield session
            # Rows outlive the block: a rollback would empty those that still belong to the session.
            session.expunge_all()
            session.rollback()

    def serialize_ingest(self, session: Session) -> None:
        """Hold the ingest lock until the end of the transaction (several ingest workers on PostgreSQL)."""
        if not self.is_sqlite:
            session.connection().execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _INGEST_LOCK})

    def probe(self) -> None:
        """Ask the database for an answer.

        Raises:
            StoreError: it gives none; the message says why.
        """
        try:
            with self.read() as session:
                session.connection().execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            msg = f"database {self.url.render_as_string(hide_password=True)} cannot be reached: {_first_line(error)}"
            raise StoreError(msg) from error

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def serialize_product(session: Session, product: str) -> None:
    """Hold the lock of a product's rollouts until the end of the transaction.

    Two that look whether a rollout is under way, find none and begin one would else both do so. On SQLite the
    transaction itself is the lock.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:kind, hashtext(:product))"),
            {"kind": _PRODUCT_LOCKS, "product": product},
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # Transactions are begun by `_begin_immediate`, never behind our back by the driver.
    connection.isolation_level = None
    # FULL: a receipt promises that a report survives a power cut, so a commit must reach the disk.
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that turns into a writer fails at once with "database is locked" when another
    # wrote meanwhile, however long the busy timeout is.
    is_read = connection.get_execution_options().get("sightline_read", False)
    connection.exec_driver_sql("BEGIN" if is_read else "BEGIN IMMEDIATE")
