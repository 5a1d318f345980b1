# SPDX-License-Identifier: Apache-2.0
"""Composition root: builds every real part of one central process, starts and stops them in order.

Rules live elsewhere. Called by `central.__main__` (`run`) and by tests that want the real thing. How further services
and routes are plugged in is written in `central.foundation`.
"""

import importlib
import logging
import socket
import threading
from importlib.util import find_spec
from typing import Final

import uvicorn

from central.api.server import build_api
from central.clock import Clock
from central.errors import SettingsError
from central.foundation import Services
from central.messaging.gateway import Gateway
from central.services.evidence import EvidenceService
from central.services.history import HistoryService
from central.services.ingest import IngestService
from central.services.retention import RetentionService
from central.services.worker import Service, Worker
from central.settings import CentralSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.schema import require_current
from contracts.topics import Channel

log = logging.getLogger(__name__)

_LEARNING_SERVICES: Final = "central.services.trainings.learning_services"
# Together below the 3 s within which a stop must be done.
_STOP_S: Final = 0.8


def build_services(settings: CentralSettings, clock: Clock) -> Services:
    """Everything but the HTTP server, built and wired, not started.

    Raises:
        StoreError: database or blob store cannot be used; the message says what to do.
    """
    database = Database(settings.database_url)
    database.probe()
    require_current(database)
    blobs = Blobs(settings.blobs, settings.uploads_dir)
    gateway = Gateway(settings.broker)
    ingest = IngestService(database, gateway, settings.ingest, clock)
    for channel in (Channel.REPORT, Channel.STATUS, Channel.PACKAGE_STATUS):
        gateway.on(channel, ingest.on_delivery)
    base = Services(
        settings=settings,
        clock=clock,
        database=database,
        blobs=blobs,
        gateway=gateway,
        ingest=ingest,
        evidence=EvidenceService(database, blobs, settings.evidence, clock),
        started_at=clock.now(),
    )
    retention = RetentionService(database, blobs, settings.evidence, settings.ingest)
    history = HistoryService(database, settings.history)
    base.worker = Worker([base.evidence, retention, history, *_learning(base)], clock)
    return base


def _learning(base: Services) -> list[Service]:
    # By name: see `central.foundation` for why.
    if find_spec(_LEARNING_SERVICES) is None:
        return []
    services: list[Service] = importlib.import_module(_LEARNING_SERVICES).build_services(base)
    return services


class Central:
    """One running process: HTTP server, ingest, worker."""

    def __init__(self, settings: CentralSettings, clock: Clock) -> None:
        self.services: Final = build_services(settings, clock)
        self._socket: Final = _listen(settings.host, settings.port)
        host, port = self._socket.getsockname()[:2]
        self.url: Final = f"http://{host}:{port}"
        self._server: Final = uvicorn.Server(
            uvicorn.Config(
                build_api(self.services),
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
                # Nothing here uses websockets or start-up hooks.
                ws="none",
                lifespan="off",
            )
        )
        # Not the main thread's business: there signals are ours, not uvicorn's.
        self._http: Final = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)

    def start(self) -> None:
        """Start everything; the broker may come later."""
        self.services.ingest.start()
        self.services.gateway.start()
        if self.services.worker is not None:
            self.services.worker.start()
        self._http.start()

    def stop(self) -> None:
        """Stop within 3 s. Whatever is cut off here is as safe as with SIGKILL."""
        self._server.should_exit = True
        # The network first: what arrives from now on is not acknowledged and comes again.
        self.services.gateway.stop()
        self.services.ingest.stop(_STOP_S)
        if self.services.worker is not None:
            self.services.worker.stop(_STOP_S)
        self._http.join(_STOP_S + 0.4)
        self._socket.close()
        self.services.database.close()
        log.info("stopped")


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything starts, so that a taken port is one clear error.

    Raises:
        SettingsError: the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise SettingsError([f"host/port: expected a free address, got {host}:{port}: {error.strerror}"]) from error
    listener.set_inheritable(False)
    return listener
