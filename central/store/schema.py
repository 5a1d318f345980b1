# SPDX-License-Identifier: Apache-2.0
"""Brings a database to the current shape and tells whether it is there. Used by the command line and at start-up.

The shape itself is in `tables.py` and the files `*_tables.py` beside it, its history in `migrations/versions`.
"""

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData

from central.errors import StoreError
from central.store import (
    alarm_route_tables,
    audit_tables,
    cause_tables,
    dataset_tables,
    drift_tables,
    experiment_tables,
    gate_tables,
    recipe_tables,
    rollout_tables,
    shadow_tables,
    training_tables,
)
from central.store.database import Database

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LEARNING_TABLES: Final = "central.store.learning_tables"


def full_metadata() -> MetaData:
    """All tables, those of recipes and of learning included."""
    if find_spec(_LEARNING_TABLES) is not None:
        importlib.import_module(_LEARNING_TABLES)
    # One metadata for all; naming the modules is what registers their tables in it.
    rows = (
        alarm_route_tables.AlarmRouteRow,
        audit_tables.AuditShift,
        cause_tables.CauseSuggestion,
        dataset_tables.DatasetVersion,
        drift_tables.DriftState,
        drift_tables.NoveltyState,
        experiment_tables.Experiment,
        gate_tables.GateRun,
        rollout_tables.FreezeRow,
        shadow_tables.ShadowVerdict,
        training_tables.TrainingAttempt,
    )
    for row in rows:
        assert row.metadata is recipe_tables.RecipeVersion.metadata  # noqa: S101 - see above
    return recipe_tables.RecipeVersion.metadata


def migrate(database: Database) -> None:
    """Bring the database to the newest revision; one transaction a call where the database can."""
    config = _config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_current(database: Database) -> None:
    """Check that the shape is the one this program was written for.

    Raises:
        StoreError: older or newer; the message says what to do.
    """
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != head:
        raise StoreError(
            f"database is at revision {current or 'none'}, this program needs {head}; run `sightline-central migrate`"
        )


def drift(database: Database) -> list[Any]:
    """Differences between the migrated database and the tables in code; empty when they agree."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": _ours})
        return list(compare_metadata(context, full_metadata()))


def _ours(_item: Any, name: str | None, kind: str, *_rest: Any) -> bool:
    return not (kind == "table" and name == "alembic_version")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
