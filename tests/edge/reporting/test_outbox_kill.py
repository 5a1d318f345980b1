# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at any moment: what was reported durable is there, and no epoch comes twice."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.reporting.outbox import Outbox

KILLS = 20
ROOT = Path(__file__).parents[3]


def _run_and_kill(path: Path, after_s: float) -> tuple[int, list[int]]:
    """Returns the epoch and the sequences that the process said were durable."""
    command = [sys.executable, "-m", "tests.edge.reporting.outbox_writer", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        # The clock starts once it writes, so that kills fall into commits and not into imports.
        time.sleep(after_s)
        writer.kill()
        lines = writer.stdout.read().split("\n")
    # The last line may have been cut in half.
    return int(first.split()[1]), [int(line) for line in lines[:-1]]


@pytest.mark.slow
def test_killed_outbox_has_every_row_that_was_durable_and_repeats_no_epoch(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    generator = random.Random(11)
    durable: set[tuple[int, int]] = set()
    epochs: list[int] = []
    for _ in range(KILLS):
        epoch, sequences = _run_and_kill(path, generator.uniform(0.0, 0.3))
        epochs.append(epoch)
        durable.update((epoch, sequence) for sequence in sequences)
    outbox = Outbox(path, SystemClock())
    epochs.append(outbox.epoch)
    found = {(row.epoch, row.sequence) for row in outbox.committed_after(0, 10_000_000)}
    last = outbox.last_trigger_number()
    outbox.close()
    assert epochs == sorted(set(epochs))
    assert durable <= found
    assert len(durable) > KILLS
    # In each epoch the rows are 1 … n: a kill cuts the end off, never a row out of the middle.
    for epoch in epochs[:-1]:
        of_epoch = sorted(sequence for found_epoch, sequence in found if found_epoch == epoch)
        assert of_epoch == list(range(1, len(of_epoch) + 1))
    newest = max(found)
    assert last == newest[1]
