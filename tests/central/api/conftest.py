# SPDX-License-Identifier: Apache-2.0
"""The whole application over real HTTP, on a real database and a real folder; without broker and worker."""

import random
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlmodel import select

from central.api.server import build_api
from central.app import build_services
from central.foundation import Services
from central.initial import Wanted, initialise
from central.settings import load_settings
from central.store.database import Database
from central.store.repositories import reports, tokens
from central.store.tables import Audit, Inspection
from contracts.ids import StationAddress
from contracts.reports import InspectionReported
from contracts.vocabulary import AuditState, Role
from tests.central.conftest import START, STATION, StillClock, one_file

EPOCH = 1_700_000_000_000


@dataclass
class Api:
    """Services, clients by role, and rows made by hand."""

    services: Services
    clock: StillClock
    app: FastAPI
    anonymous: httpx.Client
    _clients: dict[Role, httpx.Client]

    def as_(self, role: Role) -> httpx.Client:
        return self._clients[role]

    def store(self, *made: InspectionReported, epoch: int = EPOCH, station: StationAddress = STATION) -> None:
        with self.services.database.begin() as session:
            message = reports.StationReports(station, epoch, made)
            reports.store_batch(session, [message], [], self.clock.now())

    def draw_audit(self, sequence: int, probability: float = 0.5, **changes: object) -> int:
        """An audit of a stored inspection; the number that the API calls it by."""
        with self.services.database.begin() as session:
            found = session.exec(select(Inspection).where(Inspection.sequence == sequence)).one()
            assert found.id is not None
            audit = Audit(
                inspection_id=found.id,
                product=found.product,
                drawn_at=self.clock.now(),
                stratum_size=10,
                inclusion_probability=probability,
                state=AuditState.AWAITING_EVIDENCE,
                is_simulated=found.is_simulated,
            )
            for name, value in changes.items():
                setattr(audit, name, value)
            if "judgement" in changes and "outcome" not in changes:
                # One answer that settled it, as in audits from before anything was confirmed.
                audit.outcome, audit.settled_at = audit.judgement, audit.judged_at
            session.add(audit)
            return audit.number

    def audit(self, audit_id: int) -> Audit:
        with self.services.database.read() as session:
            return session.exec(select(Audit).where(Audit.number == audit_id)).one()


class Server:
    """The application behind a socket of its own, in a thread."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()


@dataclass(frozen=True)
class Initial:
    """A folder to copy, and the secrets of its tokens."""

    folder: Path
    secrets: dict[Role, str]


@pytest.fixture(name="initial", scope="session")
def _initial(tmp_path_factory: pytest.TempPathFactory) -> Initial:
    folder = tmp_path_factory.mktemp("initial")
    clock = StillClock(START)
    done = initialise(folder, Wanted(port=0, broker_url="mqtt://127.0.0.1:1"), clock)
    database = Database(load_settings(done.settings_file, {}).database_url)
    with database.begin() as session:
        secrets = {role: tokens.create(session, f"test-{role.value.lower()}", role, clock.now()) for role in Role}
    one_file(database)
    return Initial(folder, secrets)


@pytest.fixture(name="server", scope="session")
def _server() -> Iterator[Server]:
    """One server for all tests of a worker process: each test puts its own services behind it."""
    server = Server(build_api(None))
    yield server
    server.stop()


@pytest.fixture(name="api")
def _api(initial: Initial, server: Server, tmp_path: Path) -> Iterator[Api]:
    folder = tmp_path / "central"
    shutil.copytree(initial.folder, folder)
    clock = StillClock()
    services = build_services(load_settings(folder / "central.toml", {}), clock)
    services.rng = random.Random(5)
    server.app.state.services = services
    clients = {
        role: httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
        for role, secret in initial.secrets.items()
    }
    anonymous = httpx.Client(base_url=server.url, timeout=60)
    yield Api(services, clock, server.app, anonymous, clients)
    for client in (*clients.values(), anonymous):
        client.close()
    services.database.close()
