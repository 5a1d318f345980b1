# SPDX-License-Identifier: Apache-2.0
"""The training backends by the settings: all that are set up, for a training goes on where it began."""

from central.learning_settings import RaySettings
from central.settings import LearningSettings
from central.training_backends.local import LocalBackend
from central.training_backends.ray import RayBackend
from central.training_backends.seam import TrainingBackend


def make_backends(settings: LearningSettings, ray: RaySettings) -> dict[str, TrainingBackend]:
    """By name. `settings.backend` names the one that new trainings go to."""
    made: list[TrainingBackend] = [LocalBackend(settings.command, settings.memory_limit_mb)]
    if ray.address:
        made.append(RayBackend(ray))
    return {backend.name: backend for backend in made}
