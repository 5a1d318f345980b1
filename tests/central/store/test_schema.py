# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from alembic import command

from central.errors import StoreError
from central.store import schema
from central.store.database import Database
from tests.central.postgres import Cluster


def test_migrating_an_empty_database_gives_exactly_the_tables_of_the_code(database: Database) -> None:
    schema.require_current(database)
    assert schema.drift(database) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    schema.migrate(database)
    assert schema.drift(database) == []


def test_every_migration_can_be_taken_back(database: Database) -> None:
    config = schema._config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with database.engine.connect() as connection:
        tables = set(database.engine.dialect.get_table_names(connection))
    assert tables <= {"alembic_version", "sqlite_sequence"}
    schema.migrate(database)
    assert schema.drift(database) == []


def test_database_that_was_never_migrated_is_refused_with_the_remedy(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(StoreError, match="run `sightline-central migrate`"):
        schema.require_current(database)
    database.close()


@pytest.mark.postgres
def test_postgresql_migration_is_one_transaction(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(cluster.new_database(is_migrated=False))
    upgrade = command.upgrade

    def upgrade_and_die(*arguments: object) -> None:
        upgrade(*arguments)  # type: ignore[arg-type]
        raise OSError("power cut")

    monkeypatch.setattr(command, "upgrade", upgrade_and_die)
    with pytest.raises(OSError, match="power cut"):
        schema.migrate(database)
    with database.engine.connect() as connection:
        assert database.engine.dialect.get_table_names(connection) == []
    database.close()
