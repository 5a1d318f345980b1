# SPDX-License-Identifier: Apache-2.0
"""The machine of a rollout as the text that its row keeps, and back."""

from typing import Final

from pydantic import TypeAdapter

from central.domain.rollout_shapes import Rollout
from central.store.learning_tables import RolloutRow

_MACHINE: Final = TypeAdapter(Rollout)


def state_of(row: RolloutRow) -> Rollout:
    """The machine as the row keeps it."""
    return _MACHINE.validate_json(row.machine)


def text_of(rollout: Rollout) -> str:
    """What a row keeps of it: the same machine, the same text."""
    return _MACHINE.dump_json(rollout).decode()
