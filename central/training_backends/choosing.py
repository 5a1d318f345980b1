# SPDX-License-Identifier: Apache-2.0
"""The training backends by the settings: all that are set up, for a training goes on where it began."""

from central.settings import LearningSettings
from central.training_backends.local import LocalBackend
from central.training_backends.seam import TrainingBackend


def make_backends(settings: LearningSettings) -> dict[str, TrainingBackend]:
    """By name. `settings.backend` names the one that new trainings go to."""
    local = LocalBackend(settings.command, settings.memory_limit_mb)
    return {local.name: local}
