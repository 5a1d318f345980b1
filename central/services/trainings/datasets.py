# SPDX-License-Identifier: Apache-2.0
"""Dataset versions: from labels to an immutable manifest with the provenance of every label, and the test set's guard.

A version is made of what a training was given, and refused where it would leak the product's test set into what
trains. Chooses no pictures (`services/trainings/jobs.py` does). Called by `jobs.py` and the routes.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.domain.datasets import DatasetQuery, LabelRecord, beside_tested_lots, find_leaks, version_of
from central.domain.learning import JudgedPicture, SplitBy, bound_pictures
from central.errors import NotFoundError, StoreError
from central.settings import LearningSettings
from central.store.blobs import Blobs
from central.store.chunks import in_chunks
from central.store.database import Database
from central.store.dataset_files import query_as_json, to_parquet
from central.store.dataset_tables import DatasetVersion, HeldOutPicture
from central.store.learning_tables import SplitGroup, Training
from central.store.tables import Audit, Inspection, LabelledPicture, Station
from contracts.vocabulary import Judgement, LabelSource, PartUse

_LOG = logging.getLogger(__name__)

_FIRM: Final = (Judgement.GOOD, Judgement.DEFECTIVE)


def part_of(row: LabelledPicture) -> str:
    """The physical part: a picture whose part nobody named is its own, rather than a part on both sides."""
    return row.part_id or f"picture-{row.sha256}"


def lot_of(station: str | None, captured_at: datetime | None) -> str | None:
    """The production day of a station, UTC; None where the picture came from none. Reports carry no lot numbers."""
    return f"{station}/{captured_at:%Y-%m-%d}" if station and captured_at else None


def query_for(training: Training, rows: Sequence[LabelledPicture], settings: LearningSettings) -> DatasetQuery:
    """What a training asked for when it was given these labels, one at least: nothing that came later is asked for."""
    return DatasetQuery(
        product=training.product,
        is_simulated=training.is_simulated,
        sources=tuple(LabelSource),
        through_label_id=max(row.id or 0 for row in rows),
        labelled_until=max(row.added_at for row in rows),
        max_images=settings.max_images,
        holdout_share=settings.holdout_share,
        split_by=settings.split_by,
    )


def labels_of(session: Session, query: DatasetQuery) -> Sequence[LabelledPicture]:
    """The firm labels that a query names, oldest first; later ones are not among them."""
    return session.exec(
        select(LabelledPicture)
        .where(
            LabelledPicture.product == query.product,
            LabelledPicture.is_simulated == query.is_simulated,
            col(LabelledPicture.judgement).in_(_FIRM),
            col(LabelledPicture.source).in_(query.sources),
            col(LabelledPicture.id) <= query.through_label_id,
            col(LabelledPicture.added_at) <= query.labelled_until,
        )
        .order_by(col(LabelledPicture.id))
    ).all()


def ask_again(session: Session, query: DatasetQuery) -> list[LabelRecord]:
    """What a stored query gives now: what its version holds, and pictures of it that were no longer stored then."""
    rows = labels_of(session, query)
    kept = {picture.sha256 for picture in bound_pictures([judged_of(row) for row in rows], query.max_images)}
    sides = select(SplitGroup).where(SplitGroup.product == query.product, SplitGroup.is_simulated == query.is_simulated)
    use = {row.part_group: row.use for row in session.exec(sides).all()}
    records = records_of(session, [row for row in rows if row.sha256 in kept], use)
    if query.split_by != SplitBy.LOT:
        return records
    stale = beside_tested_lots({record.part: record.lot for record in records}, use)
    return [record for record in records if record.part not in stale]


def judged_of(row: LabelledPicture, lot: str | None = None, at: datetime | None = None) -> JudgedPicture:
    """A label as the split sees it."""
    return JudgedPicture(
        row.sha256, part_of(row), row.judgement, row.defect_class, row.source, lot=lot, at=at or row.added_at
    )


def taken_at(session: Session, rows: Sequence[LabelledPicture]) -> dict[int | None, tuple[str, datetime]]:
    """Station and capture time of each label, by its id; none of those that came from no inspection."""
    found: dict[int | None, tuple[str, datetime]] = {}
    for some in in_chunks([row.inspection_id for row in rows if row.inspection_id is not None]):
        wanted = (
            select(Inspection.id, Station.address, Inspection.captured_at)
            .join(Station, col(Station.id) == col(Inspection.station_id))
            .where(col(Inspection.id).in_(some))
        )
        found.update({number: (address, at) for number, address, at in session.exec(wanted).all()})
    return {row.id: found[row.inspection_id] for row in rows if row.inspection_id in found}


def records_of(session: Session, rows: Sequence[LabelledPicture], use: Mapping[str, PartUse]) -> list[LabelRecord]:
    """Labels with their provenance. `use`: side of each part."""
    taken = taken_at(session, rows)
    asked: dict[int | None, list[Audit]] = defaultdict(list)
    for some in in_chunks([row.inspection_id for row in rows if row.audit_id is not None]):
        audits = select(Audit).where(col(Audit.inspection_id).in_(some), col(Audit.is_repeat).is_(False))
        for audit in session.exec(audits.order_by(col(Audit.ask))).all():
            asked[audit.inspection_id].append(audit)
    return [_record(row, taken.get(row.id), asked[row.inspection_id], use) for row in rows]


def _record(
    row: LabelledPicture,
    taken: tuple[str, datetime] | None,
    asked: Sequence[Audit],
    use: Mapping[str, PartUse],
) -> LabelRecord:
    # Who said something else did not give this label.
    said = [audit.inspector for audit in asked if audit.judgement is row.judgement and audit.inspector]
    first = next((audit for audit in asked if audit.id == row.audit_id), None)
    station, captured_at = taken or (None, None)
    part = part_of(row)
    return LabelRecord(
        sha256=row.sha256,
        media_type=row.media_type,
        judgement=row.judgement,
        defect_class=row.defect_class,
        part=part,
        lot=lot_of(station, captured_at),
        station=station,
        captured_at=captured_at,
        source=row.source,
        labelled_by=tuple(said) if said else (row.added_by,) if row.added_by else (),
        labelled_at=row.added_at,
        is_confirmed=len(set(said)) > 1,
        inclusion_probability=first.inclusion_probability if first else None,
        inspection_id=row.inspection_id,
        audit_id=row.audit_id,
        use=use[part],
    )


def keep_version(
    database: Database,
    blobs: Blobs,
    training: Training,
    *,
    rows: Sequence[LabelledPicture],
    use: Mapping[str, PartUse],
    settings: LearningSettings,
    now: datetime,
) -> str:
    """Write down what a training learns from: the manifest, its row, and the test set it rests on.

    The same labels on the same sides are the same version; a restart in between writes the same again.

    Returns:
        The version's id.

    Raises:
        StoreError: pictures or parts of the product's test set would train; says which.
    """
    with database.read() as session:
        records = records_of(session, rows, use)
        held_out = held_out_of(session, training.product, is_simulated=training.is_simulated)
    query = query_for(training, rows, settings)
    leaks = find_leaks(records, held_out, is_by_lot=settings.split_by == SplitBy.LOT)
    if leaks:
        raise StoreError(
            f"test set of {training.product}: {'; '.join(leaks)}; what once tested never trains. Correct the part ids, "
            "or take the pictures out"
        )
    dataset_id, content = version_of(records), to_parquet(records, query)
    # The file first: a row must never name one that is not there.
    file_sha256 = blobs.put(content)
    with database.begin() as session:
        if session.get(DatasetVersion, dataset_id) is None:
            session.add(_version(dataset_id, records, query, stored=(file_sha256, len(content)), now=now))
            session.flush()
        for record in records:
            key = (training.product, training.is_simulated, record.sha256)
            if record.use is PartUse.HOLDOUT and record.sha256 not in held_out:
                kept = HeldOutPicture(
                    product=key[0], is_simulated=key[1], sha256=key[2],
                    part_group=record.part, since=now, dataset_id=dataset_id,
                )  # fmt: skip
                session.merge(kept)
        row = session.get_one(Training, training.training_id)
        row.dataset_id = dataset_id
        session.add(row)
    _LOG.info("dataset kept dataset_id=%s training_id=%s pictures=%d", dataset_id, training.training_id, len(records))
    return dataset_id


def held_out_of(session: Session, product: str, *, is_simulated: bool) -> dict[str, str]:
    """Pictures that were ever in a product's test set, with their part."""
    wanted = select(HeldOutPicture.sha256, HeldOutPicture.part_group).where(
        HeldOutPicture.product == product, HeldOutPicture.is_simulated == is_simulated
    )
    return dict(session.exec(wanted).all())


def find_version(session: Session, dataset_id: str) -> DatasetVersion:
    """One version.

    Raises:
        NotFoundError: there is none.
    """
    row = session.get(DatasetVersion, dataset_id)
    if row is None:
        raise NotFoundError(f"dataset {dataset_id}: no such version")
    return row


def _version(
    dataset_id: str,
    records: Sequence[LabelRecord],
    query: DatasetQuery,
    *,
    stored: tuple[str, int],
    now: datetime,
) -> DatasetVersion:
    return DatasetVersion(
        dataset_id=dataset_id,
        product=query.product,
        is_simulated=query.is_simulated,
        created_at=now,
        query=query_as_json(query),
        pictures=len(records),
        parts=len({record.part for record in records}),
        good=sum(record.judgement is Judgement.GOOD for record in records),
        defective=sum(record.judgement is Judgement.DEFECTIVE for record in records),
        held_out=sum(record.use is PartUse.HOLDOUT for record in records),
        confirmed=sum(record.is_confirmed for record in records),
        file_sha256=stored[0],
        size_bytes=stored[1],
    )
