# SPDX-License-Identifier: Apache-2.0
"""The seam between central and what measures a challenger beside its champion: a job file in, `gate.json` out.

`gate.json` (`GateReport`) is written whole and last. Both packages judge the same pictures at their own limits; whether
that is good enough is central's to say.
"""

from typing import Final

from pydantic import Field

from contracts.base import Count, Message, Ordinal, Shape
from contracts.ids import Name, PackageId, Sha256
from contracts.jobs import MOST_THREADS
from contracts.vocabulary import Judgement, Variant, Verdict

GATE_REPORT_NAME: Final = "gate.json"
# Each is judged three times, one after another; and a job file is a message, whose size is bounded.
MOST_GATE_PICTURES: Final = 8_000


class GatePicture(Shape):
    """One picture that neither package learnt from. `group` is the physical part.

    `is_test`: of the product's frozen test set. `inclusion_probability`: chance with which its part was audited; null:
    not an audited part. It may be both.
    """

    path: str
    sha256: Sha256
    judgement: Judgement
    defect_class: str | None = Field(default=None, max_length=64)
    group: str = Field(min_length=1, max_length=200)
    is_test: bool
    inclusion_probability: float | None = Field(default=None, gt=0, le=1)


class GateJob(Message):
    """What to measure, and where to leave it."""

    package_id: PackageId
    package_dir: str
    champion_package_id: PackageId | None = None
    champion_dir: str | None = None
    product: Name
    is_simulated: bool
    pictures: list[GatePicture] = Field(max_length=MOST_GATE_PICTURES)
    threads: int = Field(default=1, ge=1, le=MOST_THREADS)
    output_dir: str


class GateVerdict(Shape):
    """One picture as three graphs judge it: the challenger as a station runs it, its float form, the champion.

    `exact_*` is null where the challenger has no fp32 or is run as it; `champion_*` where there is no champion.
    """

    sha256: Sha256
    score: float | None
    verdict: Verdict
    exact_score: float | None = None
    exact_verdict: Verdict | None = None
    champion_score: float | None = None
    champion_verdict: Verdict | None = None


class GraphTimed(Shape):
    """Time of one picture in a session of this machine, ms; `runs` pictures, the packages by turns."""

    variant: Variant
    p50_ms: float = Field(ge=0)
    p99_ms: float = Field(ge=0)
    runs: Ordinal


class GoldenMeasured(Shape):
    """Golden images of the challenger in one of its forms: the largest distance from the score it was packed with.

    `unscored` of them got no number. `worst_error` null: so did one, or the package holds no golden scores of the form.
    """

    variant: Variant
    images: Count
    unscored: Count = 0
    worst_error: float | None = None
    tolerance: float = Field(gt=0)


class GateReport(Message):
    """What was measured. `memory_mb`: what the challenger's session adds to the process; null: it cannot be told here.

    `left_out`: a line for each picture that could not be used.
    """

    package_id: PackageId
    champion_package_id: PackageId | None = None
    pictures: list[GateVerdict]
    left_out: list[str] = []
    timed: GraphTimed | None = None
    champion_timed: GraphTimed | None = None
    memory_mb: float | None = Field(default=None, ge=0)
    golden: list[GoldenMeasured] = []
    threads: Ordinal
    machine: str = Field(max_length=200)
    seconds: float = Field(ge=0)
