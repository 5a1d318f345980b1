# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while a plant is set up or run, by who must act.

    PlantError
    ├── UsageError        the person gave something that cannot work: change the command and try again
    ├── ChildError        a process of the plant did not come up, or kept dying: read its log
    └── CentralError      central answered with a refusal or not at all

Raised by the rooms of `plant`, caught by `plant.cli`, which prints the text without a traceback.
"""


class PlantError(Exception):
    """Root of the plant's own errors. The text says what was expected, what came and what to do."""

    exit_code = 1


class UsageError(PlantError):
    """The command, the folder or the scenario cannot work as given."""

    exit_code = 2


class ChildError(PlantError):
    """A child process did not come up, or died more often than it may."""

    exit_code = 3


class CentralError(PlantError):
    """Central refused a request, or could not be reached in time.

    `status` is the HTTP status, or None when there was no answer.
    """

    exit_code = 3

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status
