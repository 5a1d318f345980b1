# SPDX-License-Identifier: Apache-2.0
"""What `/drift` tells of the monitors. Shapes only; the rest of the API's bodies are in `schemas`."""

from contracts.base import Shape, UtcTime
from contracts.ids import Name, PackageId


class DriftView(Shape):
    """A station's drift monitor: whether it watches yet, and what it said of its reference.

    `reference_parts`: taken in so far, in whole blocks of 30. `left_out`: parts without score or measures, or whose
    capture time is wrong or went back.
    """

    station: str
    is_watching: bool
    began_at: UtcTime | None
    reference_parts: int
    notes: list[str]
    left_out: int
    is_simulated: bool


class NoveltyView(Shape):
    """A novelty monitor of one station, product and package: whether it watches yet, and what it said of its reference.

    `last_at`: capture time of the newest part taken in. `left_out`: accepted parts whose capture time is wrong or went
    back.
    """

    station: str
    product: Name
    package_id: PackageId
    is_watching: bool
    last_at: UtcTime
    notes: list[str]
    left_out: int
    is_simulated: bool
