# SPDX-License-Identifier: Apache-2.0
"""The trainer as it is, but that on its first run for a job it waits for its end once a step is kept.

`trainer_that_waits.py JOB.json`. So that a test may end it there for certain, however fast it is. The wait may be
interrupted by a signal as any of its work.
"""

import sys
import time
from pathlib import Path

from models.__main__ import main
from models.training.checkpoints import Checkpoints


def wait_after_a_step(marker: Path) -> None:
    keep = Checkpoints._keep

    def waiting(self: Checkpoints, name: str, content: bytes) -> None:
        keep(self, name, content)
        marker.touch()
        while True:
            time.sleep(0.02)

    Checkpoints._keep = waiting  # type: ignore[method-assign]


if __name__ == "__main__":
    waited = Path(sys.argv[1]).resolve().parent / "waited"
    if not waited.exists():
        wait_after_a_step(waited)
    sys.exit(main(["run-job", sys.argv[1]], is_process=True))
