# SPDX-License-Identifier: Apache-2.0
"""The backends under test, each as a rig."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from central.training_backends.local import LocalBackend
from tests.central.services.trainers import end_trainings
from tests.central.training_backends.rigs import Rig


def local_rig(folder: Path) -> Iterator[Rig]:
    made: list[LocalBackend] = []

    def make(command: tuple[str, ...]) -> LocalBackend:
        made.append(LocalBackend(command))
        return made[-1]

    yield Rig(make, lambda attempt: attempt.folder, lambda attempt: attempt.output, folder)
    end_trainings(folder / "trainings")
    for child in (child for backend in made for child in backend.children):
        child.wait()


@pytest.fixture(name="rig", params=["local"])
def _rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    yield from {"local": local_rig}[request.param](tmp_path)
