# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.faults.camera_process FIRST TAKT_S`: a camera in a process of its own.

So that it can be stopped. Prints its URL, then sends numbered parts from FIRST on until its input closes; at the end
it prints the last number.
"""

import sys
import threading
import time

from tests.edge import tiny_package
from tests.edge.camera.simulator import packed
from tests.faults.line import LineCamera


def main(first: int, takt_s: float) -> int:
    """Send until the input closes."""
    camera = LineCamera()
    print(camera.url, flush=True)  # noqa: T201 - the answer
    closed = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        closed.set()

    threading.Thread(target=watch, daemon=True).start()
    camera.client(60)
    number = first
    while not closed.is_set():
        camera.offer(packed(number, tiny_package.part(40)))
        number += 1
        time.sleep(takt_s)
    # The station reads what is under way before it sees the end.
    time.sleep(1.0)
    print(number - 1, flush=True)  # noqa: T201 - the answer
    camera.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
