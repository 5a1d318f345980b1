# SPDX-License-Identifier: Apache-2.0
"""A process that fills an outbox until it is killed. Prints `epoch N`, then each sequence that is durable."""

import sys
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.reporting.outbox import Outbox
from tests.edge.reporting.builders import report


def main(path: str) -> None:
    """Write for ever."""
    outbox = Outbox(Path(path), SystemClock())
    out = sys.stdout
    out.write(f"epoch {outbox.epoch}\n")
    reported = outbox.last_row_id
    while True:
        for _ in range(7):
            sequence = outbox.next_sequence()
            outbox.put(report(sequence, sequence))
        # What can be read back is durable: commits are synchronous.
        for row in outbox.committed_after(reported, 1000):
            out.write(f"{row.sequence}\n")
            reported = row.row_id
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
