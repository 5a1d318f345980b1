# SPDX-License-Identifier: Apache-2.0
"""`/health` and `/ready`: the only two answers that need no token. They tell nothing but whether we are well."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Response

from central.api.auth import ServicesOf
from central.api.schemas import Health
from central.errors import StoreError
from central.services.watches.services import failing

router = APIRouter(tags=["health"])


@router.get("/health", summary="Alive")
def health() -> Health:
    """The process answers; says nothing about database or broker."""
    return Health(status="ok", version=program_version())


@router.get("/ready", summary="Database and broker reached", responses={503: {"model": Health}})
def ready(services: ServicesOf, response: Response) -> Health:
    """200 when reports can be taken in: the database answers and the broker is connected; 503 otherwise.

    `degraded` (200): a service fails again and again, as the alarm SERVICE_FAILS says.
    """
    database = "ok"
    try:
        services.database.probe()
    except StoreError:
        # The reason is in the log: this route is open, so it names no host.
        database = "unreachable"
    broker = "ok" if services.gateway.is_connected else "unreachable"
    is_ready = database == broker == "ok"
    # Only names: why stands in the alarm and the log.
    broken = list(failing(services.worker.counts, services.clock.now())) if services.worker is not None else []
    if not is_ready:
        response.status_code = 503
    return Health(
        status="not ready" if not is_ready else "degraded" if broken else "ok",
        version=program_version(),
        database=database,
        broker=broker,
        failing=broken,
    )


def program_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("sightline")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "0"
