# SPDX-License-Identifier: Apache-2.0
"""The routers of the learning loop and of recipes, for `api/server.py`, which looks this module up by name."""

from fastapi import APIRouter

from central.api import (
    alarm_routes,
    alarms,
    audit_shifts,
    datasets,
    drift,
    experiments,
    freezes,
    gates,
    hints,
    lineage,
    packages,
    picture_lineage,
    recipes,
    references,
    rollout_policies,
    rollouts,
    training_costs,
    training_queue,
    trainings,
    tuf,
)


def build_routers() -> list[APIRouter]:
    """All of them; mounted under `/api/v1`."""
    return [
        alarms.router,
        alarm_routes.router,
        audit_shifts.router,
        drift.router,
        hints.router,
        references.router,
        # Before the route that would take their words for a training.
        training_queue.router,
        training_costs.router,
        trainings.router,
        experiments.router,
        datasets.router,
        packages.router,
        gates.router,
        lineage.router,
        picture_lineage.router,
        rollouts.router,
        rollout_policies.router,
        freezes.router,
        recipes.router,
        recipes.station_router,
        tuf.router,
    ]
