# SPDX-License-Identifier: Apache-2.0
"""What goes down to a station, and what the station says beside the line.

`AssignPackage` travels only as the payload of a DSSE envelope signed with the assignment key.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from contracts.base import Count, Message, Ordinal, Shape, UtcTime
from contracts.ids import Epoch, Name, PackageId, PartId, Sequence, StationAddress
from contracts.vocabulary import Disposition, Verdict

ASSIGNMENT_PAYLOAD_TYPE: Final = "application/vnd.sightline.assignment+json"


class SequenceRange(Shape):
    """Sequences first … last, both included."""

    first: Sequence
    last: Sequence


class ReportsCommitted(Message):
    """Receipt: these sequences of this epoch are durable at central. Only this empties the outbox.

    `quarantined` names sequences that are stored, but as poison: durable too, to be removed as well.
    """

    station: StationAddress
    epoch: Epoch
    ranges: list[SequenceRange] = Field(max_length=2000)
    quarantined: list[SequenceRange] = []
    committed_at: UtcTime


class ChallengerAssignment(Shape):
    """A package that should judge the parts of a product in shadow, beside the one that decides.

    `parts` None: until another assignment tells. A number: once it has judged so many without an error it becomes
    active by itself. A station that does not know of challengers goes on with its champion.
    """

    package_id: PackageId
    parts: int | None = Field(default=None, ge=1, le=10_000_000)


class ProductAssignment(Shape):
    """The package that should judge one product, and maybe one beside it in shadow.

    `is_urgent`: its download does not wait for the station's maintenance window, as when a bad package is rolled back.
    """

    product: Name
    package_id: PackageId
    challenger: ChallengerAssignment | None = None
    is_urgent: bool = False


class AssignPackage(Message):
    """The whole desired state of one station. A higher number replaces a lower one; never the reverse.

    Going back to an older package is a new assignment with a higher number.
    """

    station: StationAddress
    number: Ordinal
    issued_at: UtcTime
    expires_at: UtcTime
    packages: list[ProductAssignment] = Field(max_length=64)


class InspectionKey(Shape):
    """An inspection of the addressed station."""

    epoch: Epoch
    sequence: Sequence


class RequestEvidence(Shape):
    """Upload the pictures of these inspections if you still have them; say so if not."""

    type: Literal["request-evidence"] = "request-evidence"
    inspections: list[InspectionKey] = Field(min_length=1, max_length=500)


class ReportStatus(Shape):
    """Send status and package status now."""

    type: Literal["report-status"] = "report-status"


class SwitchProduct(Shape):
    """From the next captured part on inspect this product, unless a part names its own."""

    type: Literal["switch-product"] = "switch-product"
    product: Name


class StationCommand(Message):
    """One command to a station. Unknown types are refused by the reader and counted."""

    issued_at: UtcTime
    command: Annotated[RequestEvidence | ReportStatus | SwitchProduct, Field(discriminator="type")]


class TriggerReceived(Message):
    """A part is in front of the camera (line controller → station). `contracts.trigger_text` reads it, tolerantly.

    `trigger_number` counts parts without gaps: with it a trigger that was lost is found by the next one.
    """

    trigger_number: int | None = Field(default=None, ge=0, le=2**53)
    at: UtcTime | None = None
    part_id: PartId | None = None
    product: Name | None = None


class RejectSignal(Message):
    """The station's word on one part for the line's gate.

    The gate is fail-safe: a part passes only on an explicit PASSED in time; silence diverts it.
    """

    station: StationAddress
    epoch: Epoch
    trigger_number: Count | None = None
    part_id: PartId | None = None
    verdict: Verdict
    disposition: Disposition
    at: UtcTime
