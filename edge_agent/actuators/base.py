# SPDX-License-Identifier: Apache-2.0
"""The seam to reject outputs: whatever tells the line's gate what to do with a part.

The gate is fail-safe: a part passes only on an explicit PASSED in time, so an output that fails loses no part,
it only holds it. The one exception says so in `silence`: a gate wired to divert on a signal lets pass what it hears
nothing of. The loop calls `send` once per part, before anything touches disk or queue.
"""

from dataclasses import dataclass
from typing import Protocol

from contracts.commands import RejectSignal
from contracts.vocabulary import Disposition, SignalState


@dataclass(frozen=True)
class LineTiming:
    """When and how long an output on the line controller is driven for a part; see `actuators.line.Wiring`."""

    pulse_s: float = 0.1
    delay_s: float = 0.0
    distance_counts: int = 0


@dataclass(frozen=True)
class OutputUse:
    """What a recipe makes of the station's outputs.

    Args:
        kinds: those that are told of its parts; the one that drives the gate is always among them.
        timing: of the one on the line controller; None: as the station's settings say.
    """

    kinds: frozenset[str]
    timing: LineTiming | None = None


class RejectOutput(Protocol):
    """Something that takes the station's word on a part."""

    @property
    def silence(self) -> Disposition:
        """What becomes of a part that the gate hears nothing of: HELD, or PASSED where it is not fail-safe."""
        ...

    def send(self, signal: RejectSignal, captured_s: float, use: OutputUse | None = None) -> SignalState:
        """Hand the word over without waiting. Should not raise; if it does, the loop takes it as FAILED.

        Args:
            signal: the word.
            captured_s: the part's capture on the station's monotonic clock; delays to the gate count from there.
            use: what the part's own recipe says of outputs; None: nothing.

        Returns SENT when the output took it, FAILED when it did not (the part gets what `silence` says), MISSED when
        this station has no output at all.
        """
        ...


class NoOutput:
    """A station that only watches: nobody takes its word, and the reports say so."""

    silence = Disposition.HELD

    def send(self, signal: RejectSignal, captured_s: float, use: OutputUse | None = None) -> SignalState:
        """Take nothing."""
        del signal, captured_s, use
        return SignalState.MISSED
