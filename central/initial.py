# SPDX-License-Identifier: Apache-2.0
"""`sightline-central init`: data folder, settings file, keys and trust, database. Each only where it is absent.

Starts nothing and makes no token. Running it again changes nothing that exists. Called by `central.__main__`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlmodel import func, select

from central.clock import Clock
from central.errors import SettingsError
from central.settings import CentralSettings, load_settings
from central.store.database import Database
from central.store.learning_tables import Package
from central.store.schema import migrate
from central.store.tables import Station
from central.trust.enrolment import ENROLMENT_FOLDER, KEYS_FOLDER, has_repository, initialise_trust
from central.trust.keys import KeyName, has_key
from central.trust.state import PackageRepositoryError

SETTINGS_NAME: Final = "central.toml"


@dataclass(frozen=True)
class Wanted:
    """What goes into a new settings file. None: left to the default."""

    host: str | None = None
    port: int | None = None
    broker_url: str | None = None
    database_url: str | None = None


@dataclass(frozen=True)
class Initialised:
    """Where everything is. `unheeded`: what was wished for but is another in the settings file that was kept."""

    settings_file: Path
    is_new: bool
    enrolment_dir: Path
    unheeded: tuple[str, ...] = ()
    is_root_key_here: bool = False


def initialise(folder: Path, wanted: Wanted, clock: Clock) -> Initialised:
    """Make what is missing below `folder`.

    Raises:
        SettingsError: the folder cannot be made, what is wanted cannot work (nothing is written then), or an existing
            settings file is wrong.
        StoreError: the database cannot be reached.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([f"--data: expected a folder that can be made, got {folder}: {error.strerror}"]) from error
    settings_file = folder / SETTINGS_NAME
    is_new = not settings_file.exists()
    if is_new:
        scratch = settings_file.with_suffix(".new")
        scratch.write_text(_settings_text(wanted), encoding="utf-8")
        try:
            # Relative paths count from the folder, so the scratch file says all that the file will say.
            load_settings(scratch)
            scratch.replace(settings_file)
        finally:
            scratch.unlink(missing_ok=True)
    try:
        settings = load_settings(settings_file)
    except SettingsError as error:
        raise SettingsError([f"{settings_file}: {fault}" for fault in error.faults]) from error
    prepare(settings, clock)
    unheeded = () if is_new else _unheeded(wanted, settings)
    is_here = has_key(settings.trust_dir / KEYS_FOLDER, KeyName.ROOT)
    return Initialised(settings_file, is_new, settings.trust_dir / ENROLMENT_FOLDER, unheeded, is_here)


def _unheeded(wanted: Wanted, settings: CentralSettings) -> tuple[str, ...]:
    return tuple(
        option
        for option, asked, kept in (
            ("--host", wanted.host, settings.host),
            ("--port", wanted.port, settings.port),
            ("--broker", wanted.broker_url, settings.broker.url),
            ("--database-url", wanted.database_url, settings.database_url),
        )
        if asked is not None and asked != kept
    )


def prepare(settings: CentralSettings, clock: Clock) -> None:
    """Keys, trust and database of these settings, where absent.

    Raises:
        StoreError: the database cannot be reached.
        PackageRepositoryError: packages or stations are known, and the keys that they trust are gone.
    """
    for folder in (settings.data_dir, settings.trainings_dir, settings.uploads_dir):
        folder.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    try:
        database.probe()
        migrate(database)
        _check_trust_is_not_lost(database, settings.trust_dir)
    finally:
        database.close()
    initialise_trust(settings.trust_dir, clock.now())


def _check_trust_is_not_lost(database: Database, trust_dir: Path) -> None:
    """A disk that is not mounted must not get keys that no station knows."""
    if has_repository(trust_dir):
        return
    with database.read() as session:
        packages = session.exec(select(func.count()).select_from(Package)).one()
        stations = session.exec(select(func.count()).select_from(Station)).one()
    if packages or stations:
        msg = (
            f"{trust_dir}: expected the keys and metadata that {packages} packages and {stations} stations of the "
            "database rest on, found none; is a disk missing? Restore the folder from a backup, or begin anew with "
            "`sightline-central init` in a new data folder and database: every station is then enrolled again"
        )
        raise PackageRepositoryError(msg)


def _settings_text(wanted: Wanted) -> str:
    # A JSON string is a TOML string.
    lines = ["# Settings of Sightline central. Paths are relative to this file.", 'data_dir = "."']
    for name, value in (("database_url", wanted.database_url), ("host", wanted.host), ("port", wanted.port)):
        if value is not None:
            lines.append(f"{name} = {json.dumps(value)}")
    lines += ["", "[broker]", f"url = {json.dumps(wanted.broker_url or 'mqtt://127.0.0.1:1883')}", ""]
    return "\n".join(lines)
