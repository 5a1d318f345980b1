# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL cluster for tests: own folder, Unix socket only, never as root.

Databases are copied from one migrated template. Not for anything but tests.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy import make_url

from central.store.database import Database
from central.store.schema import migrate

_TEMPLATE = "sightline_template"


def server_binaries() -> Path | None:
    """The folder with initdb and postgres; None: not installed."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    asked = shutil.which("pg_config")
    if asked:
        said = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        candidates.insert(0, Path(said))
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class Cluster:
    """Running between enter and exit."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user = _unprivileged_user()
        self._name = self._user or pwd.getpwuid(os.getuid()).pw_name
        # Short: a Unix socket's path has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="slpg-"))
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._folder.chmod(0o700)
        self._run("initdb", "-D", str(self._folder / "cluster"), "-A", "trust", "--no-sync", "-E", "UTF8")
        self._server = subprocess.Popen(
            [
                str(self._binaries / "postgres"),
                *("-D", str(self._folder / "cluster"), "-k", str(self._folder), "-c", "listen_addresses="),
                *("-c", "fsync=off", "-c", "max_connections=60"),
                # A launcher that goes round the databases of thousands of tests, and whole pages in a log that no
                # crash will ever need.
                *("-c", "autovacuum=off", "-c", "full_page_writes=off"),
                *("-c", "wal_level=minimal", "-c", "max_wal_senders=0"),
            ],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )
        self._run("pg_isready", "-h", str(self._folder), "-t", "30", retries=100)
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        template = Database(self._url(_TEMPLATE))
        migrate(template)
        template.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            # Immediate shutdown: nothing in there is worth a checkpoint.
            self._server.send_signal(3)
            self._server.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self, *, is_migrated: bool = True) -> str:
        """URL of a database of its own."""
        name = f"t{uuid.uuid4().hex}"
        template = _TEMPLATE if is_migrated else "template0"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url(name)

    def drop(self, url: str) -> None:
        """Remove a database that `new_database` gave, with the connections that are left: some 300 files each."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://{self._name}@/{name}?host={self._folder}"

    def _execute(self, statement: str) -> None:
        with psycopg.connect(host=str(self._folder), user=self._name, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str, retries: int = 1) -> None:
        command = [str(self._binaries / program), *arguments]
        for _ in range(retries):
            done = subprocess.run(command, user=self._user, capture_output=True, cwd=self._folder, check=False)
            if done.returncode == 0:
                return
        raise AssertionError(f"{program} failed: {done.stderr.decode()}")


def _unprivileged_user() -> str | None:
    """Whom to run as: PostgreSQL refuses to run as root. None: ourselves."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
