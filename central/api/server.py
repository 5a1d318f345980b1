# SPDX-License-Identifier: Apache-2.0
"""Puts the HTTP application together from its routers. Opens no socket and starts nothing: `central.app` does.

Everything is under `/api/v1`; `/health`, `/ready` and `/metrics` also stand at the root, where probes look for them.
"""

import importlib
from importlib.util import find_spec
from typing import Final

from fastapi import APIRouter, Depends, FastAPI

from central.api import (
    admin,
    agreement,
    audits,
    evidence,
    health,
    inspections,
    metrics,
    problems,
    quality,
    quality_groups,
    reports,
    shadow,
    stations,
)
from central.api.queries import KnownQuery
from central.foundation import Services

API_PREFIX: Final = "/api/v1"
_LEARNING_ROUTERS: Final = "central.api.learning_routers"


def build_api(services: Services | None) -> FastAPI:
    """The application; without services only its OpenAPI document is of use."""
    app = FastAPI(
        title="Sightline central",
        version="1",
        description="Inspections, quality, audits, trainings, packages and rollouts of a plant.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.services = services
    problems.install(app)
    strict = [Depends(KnownQuery())]
    for router in (*_ground_floor(), *_learning_routers()):
        app.include_router(router, prefix=API_PREFIX, responses=problems.RESPONSES, dependencies=strict)
    app.include_router(health.router, prefix=API_PREFIX)
    app.include_router(health.router, include_in_schema=False)
    app.include_router(metrics.router)
    return app


def _ground_floor() -> list[APIRouter]:
    return [
        stations.router,
        inspections.router,
        quality.router,
        quality_groups.router,
        reports.router,
        agreement.router,
        evidence.router,
        audits.router,
        shadow.router,
        admin.router,
    ]


def _learning_routers() -> list[APIRouter]:
    # By name: see `central.foundation` for why.
    if find_spec(_LEARNING_ROUTERS) is None:
        return []
    routers: list[APIRouter] = importlib.import_module(_LEARNING_ROUTERS).build_routers()
    return routers
