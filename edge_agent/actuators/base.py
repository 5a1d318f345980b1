# SPDX-License-Identifier: Apache-2.0
"""The seam to reject outputs: whatever tells the line's gate what to do with a part.

The gate is fail-safe: a part passes only on an explicit PASSED in time, so an output that fails loses no part,
it only holds it. The loop calls `send` once per part, before anything touches disk or queue.
"""

from typing import Protocol

from contracts.commands import RejectSignal
from contracts.vocabulary import SignalState


class RejectOutput(Protocol):
    """Something that takes the station's word on a part."""

    def send(self, signal: RejectSignal) -> SignalState:
        """Hand the word over without waiting. Should not raise; if it does, the loop takes it as FAILED.

        Returns SENT when the output took it, FAILED when it did not (the gate then holds the part), MISSED when
        this station has no output at all.
        """
        ...


class NoOutput:
    """A station that only watches: nobody takes its word, and the reports say so."""

    def send(self, signal: RejectSignal) -> SignalState:
        """Take nothing."""
        del signal
        return SignalState.MISSED
