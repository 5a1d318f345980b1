# SPDX-License-Identifier: Apache-2.0
"""What a dataset version is: judged pictures with the provenance of every label, and a digest of them that names it.

The same pictures with the same labels on the same sides are the same version, whenever and wherever it is made; the
digest is over what is said, not over the bytes of a file. Pure. Called by `services/trainings/datasets.py` and
`store/dataset_files.py`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from contracts.vocabulary import Judgement, LabelSource, PartUse

# In the digest: what a version says changes its meaning with this number.
FORMAT: Final = 1
_MOST_TOLD: Final = 3


@dataclass(frozen=True)
class LabelRecord:
    """One judged picture and where its label comes from.

    Attributes:
        sha256: of the picture's file.
        part: the physical part; all its pictures stand on one side.
        lot: production day of a station; None: not from a station.
        labelled_by: who said so, in the order of the answers; empty: not known (from before names were kept).
        labelled_at: when the label came to be firm.
        is_confirmed: two inspectors or more said the same.
        inclusion_probability: the chance this part had of being audited; None: chance did not ask.
        use: on which side of the split it stands.
    """

    sha256: str
    media_type: str
    judgement: Judgement
    defect_class: str | None
    part: str
    lot: str | None
    station: str | None
    captured_at: datetime | None
    source: LabelSource
    labelled_by: tuple[str, ...]
    labelled_at: datetime
    is_confirmed: bool
    inclusion_probability: float | None
    inspection_id: int | None
    audit_id: int | None
    use: PartUse


@dataclass(frozen=True)
class DatasetQuery:
    """What was asked for. Asked again later it gives the same pictures: labels are only ever added.

    `through_label_id` and `labelled_until` bound the labels; the share of the holdout was dealt then and is not dealt
    again, since parts keep their side.
    """

    product: str
    is_simulated: bool
    sources: tuple[LabelSource, ...]
    through_label_id: int
    labelled_until: datetime
    max_images: int
    holdout_share: float
    split_by: str


def version_of(records: Iterable[LabelRecord]) -> str:
    """SHA-256 of what the records say, whatever their order, in hex."""
    lines = sorted(json.dumps(_plain(record), sort_keys=True, ensure_ascii=True) for record in records)
    return hashlib.sha256("\n".join([f"sightline dataset {FORMAT}", *lines]).encode()).hexdigest()


def find_leaks(records: Sequence[LabelRecord], held_out: Mapping[str, str], *, is_by_lot: bool = False) -> list[str]:
    """What would make figures of the test set flatter: a line for each kind of leak, none where there is none.

    Args:
        records: of the version to be.
        held_out: pictures (SHA-256) that were ever in the product's test set, with their part.
        is_by_lot: the pictures of a lot must stand on one side too.
    """
    trained = [record for record in records if record.use is PartUse.TRAIN]
    tested = [record for record in records if record.use is PartUse.HOLDOUT]
    ever_tested_parts = set(held_out.values()) | {record.part for record in tested}
    ever_tested = set(held_out) | {record.sha256 for record in tested}
    found = [
        _line("were once in the test set", [each.sha256[:12] for each in trained if each.sha256 in ever_tested]),
        _line(
            "show parts that were once in the test set",
            [each.part for each in trained if each.part in ever_tested_parts and each.sha256 not in ever_tested],
        ),
    ]
    if is_by_lot:
        lots = {record.lot for record in tested if record.lot}
        found.append(_line("are of lots in the test set", [each.lot or "" for each in trained if each.lot in lots]))
    return [line for line in found if line]


def beside_tested_lots(lots: Mapping[str, str | None], use: Mapping[str, PartUse]) -> set[str]:
    """Parts that trained before lots were what is split, and whose lot is tested: they train no more.

    Args:
        lots: lot of each part.
        use: side of each part.
    """
    tested = {lot for part, lot in lots.items() if lot and use[part] is PartUse.HOLDOUT}
    return {part for part, lot in lots.items() if lot in tested and use[part] is PartUse.TRAIN}


def _line(what: str, names: list[str]) -> str:
    if not names:
        return ""
    told = ", ".join(list(dict.fromkeys(names))[:_MOST_TOLD])
    return f"{len(names)} of the training pictures {what} (such as {told})"


def _plain(record: LabelRecord) -> dict[str, object]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(record).items()}
