# SPDX-License-Identifier: Apache-2.0
"""Reports and receipts for the tests of this room."""

from collections.abc import Iterable
from datetime import UTC, datetime

from contracts.commands import ReportsCommitted, SequenceRange
from contracts.ids import StationAddress
from contracts.reports import InspectionReported
from contracts.vocabulary import Disposition, SignalState, Verdict, VerdictCause

STATION = StationAddress(site="demo", line="line-1", station="st-1")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def report(sequence: int, trigger_number: int | None = None) -> InspectionReported:
    """A report that says little."""
    return InspectionReported(
        sequence=sequence,
        trigger_number=trigger_number,
        captured_at=NOW,
        verdict=Verdict.NO_DECISION,
        cause=VerdictCause.LATE,
        disposition=Disposition.HELD,
        signal=SignalState.SENT,
        is_simulated=True,
    )


def receipt(epoch: int, sequences: Iterable[int], station: StationAddress = STATION) -> ReportsCommitted:
    """A receipt for single sequences."""
    return ReportsCommitted(
        station=station,
        epoch=epoch,
        ranges=[SequenceRange(first=sequence, last=sequence) for sequence in sequences],
        committed_at=NOW,
    )
