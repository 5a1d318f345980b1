# SPDX-License-Identifier: Apache-2.0
"""Judged pictures to a `TrainingJob`: counts, holdout, files.

Reads labels, settles on which side each part stands and lays the pictures out as files beside the job. Starts
nothing. Called by `services/trainings/learning.py`; the counts also by the routes.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import or_
from sqlmodel import Session, col, func, select

from central.domain.datasets import beside_tested_lots
from central.domain.learning import SeenField, SplitBy, bound_pictures, field_like, split_by
from central.errors import StoreError
from central.services.trainings.datasets import judged_of, keep_version, lot_of, part_of, taken_at
from central.settings import LearningSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.learning_tables import Package, SplitGroup, Training
from central.store.tables import Inspection, LabelledPicture
from central.training_backends.seam import OUTPUT_FOLDER, Attempt
from contracts import codec
from contracts.jobs import TrainingImage, TrainingJob
from contracts.manifest import PackageManifest
from contracts.vocabulary import Judgement, LabelSource, PartUse, Verdict

IMAGES_FOLDER: Final = "images"
SUFFIXES: Final = {"image/png": ".png", "image/jpeg": ".jpg"}


def label_counts(session: Session, product: str, *, is_simulated: bool) -> dict[LabelSource, dict[Judgement, int]]:
    """Judged pictures of a product by where they came from; UNSURE ones are counted and never train."""
    rows = session.exec(
        select(LabelledPicture.source, LabelledPicture.judgement, func.count())
        .where(LabelledPicture.product == product, LabelledPicture.is_simulated == is_simulated)
        .group_by(col(LabelledPicture.source), col(LabelledPicture.judgement))
    ).all()
    counts: dict[LabelSource, dict[Judgement, int]] = {}
    for source, judgement, count in rows:
        counts.setdefault(LabelSource(source), {})[Judgement(judgement)] = count
    return counts


def firm_total(counts: dict[LabelSource, dict[Judgement, int]], judgement: Judgement) -> int:
    """Pictures of one judgement over all sources."""
    return sum(by_judgement.get(judgement, 0) for by_judgement in counts.values())


def judged_since(session: Session, product: str, since: datetime | None, *, is_simulated: bool) -> int:
    """Defective parts that people found in production (audit or review) after `since`: what the champion never saw.

    Audits of rejected parts are drawn to know the overkill, and some are asked for. Their defective ones were found by
    the champion, so they train but call for no training.
    """
    wanted = (
        select(func.count())
        .select_from(LabelledPicture)
        .outerjoin(Inspection, col(Inspection.id) == col(LabelledPicture.inspection_id))
        .where(
            or_(
                col(LabelledPicture.source).not_in((LabelSource.AUDIT, LabelSource.ASKED)),
                col(Inspection.verdict).is_(None),
                col(Inspection.verdict) == Verdict.OK,
            )
        )
    )
    wanted = wanted.where(
        LabelledPicture.product == product,
        LabelledPicture.is_simulated == is_simulated,
        LabelledPicture.judgement == Judgement.DEFECTIVE,
        LabelledPicture.source != LabelSource.REFERENCE,
    )
    if since is not None:
        wanted = wanted.where(LabelledPicture.added_at > since)
    return session.exec(wanted).one()


def prefers_simulated(session: Session, product: str) -> bool:
    """Real pictures, where there are any; simulated ones train only where there is nothing else."""
    kinds = set(
        session.exec(select(LabelledPicture.is_simulated).where(LabelledPicture.product == product).distinct()).all()
    )
    return kinds == {True}


def choose_pictures(
    session: Session, training: Training, settings: LearningSettings
) -> tuple[list[LabelledPicture], dict[str, PartUse]]:
    """The pictures of a training and the side of each part, which is written down for all later trainings."""
    rows = session.exec(
        select(LabelledPicture)
        .where(
            LabelledPicture.product == training.product,
            LabelledPicture.is_simulated == training.is_simulated,
            col(LabelledPicture.judgement).in_([Judgement.GOOD, Judgement.DEFECTIVE]),
        )
        .order_by(col(LabelledPicture.id))
    ).all()
    taken = taken_at(session, rows)
    judged = [
        judged_of(row, lot_of(*taken[row.id]), taken[row.id][1]) if row.id in taken else judged_of(row) for row in rows
    ]
    kept = bound_pictures(judged, settings.max_images)
    settled = {
        row.part_group: row.use
        for row in session.exec(
            select(SplitGroup).where(
                SplitGroup.product == training.product, SplitGroup.is_simulated == training.is_simulated
            )
        ).all()
    }
    use = split_by(SplitBy(settings.split_by), kept, settings.holdout_share, settled)
    for group, side in use.items():
        if group not in settled:
            session.add(
                SplitGroup(product=training.product, is_simulated=training.is_simulated, part_group=group, use=side)
            )
    wanted = {picture.sha256 for picture in kept}
    chosen = [row for row in rows if row.sha256 in wanted]
    if settings.split_by != SplitBy.LOT:
        return chosen, use
    stale = beside_tested_lots({picture.group: picture.lot for picture in kept}, use)
    return [row for row in chosen if part_of(row) not in stale], use


def choose_field(session: Session, training: Training, settings: LearningSettings) -> SeenField:
    """How large the training sees a part: as its champion does, the first of a product as the settings say."""
    first = SeenField(settings.size_px, settings.tiles)
    champion = session.get(Package, training.champion_package_id) if training.champion_package_id else None
    if champion is None:
        return first
    return field_like(PackageManifest.model_validate_json(champion.manifest).graph, first)


def lay_out_job(
    training: Training,
    pictures: Sequence[LabelledPicture],
    use: dict[str, PartUse],
    *,
    database: Database,
    now: datetime,
    blobs: Blobs,
    folder: Path,
    settings: LearningSettings,
    field: SeenField,
    champion_dir: Path | None,
    workers: int = 1,
) -> tuple[TrainingJob, int]:
    """Pictures as files and the job that names them; what it learns from becomes a dataset version.

    Returns:
        The job, and how many pictures are no longer stored and were left out.

    Raises:
        StoreError: none of the pictures is there any more, or the product's test set would train.
    """
    images_dir = folder / IMAGES_FOLDER
    images_dir.mkdir(parents=True, exist_ok=True)
    images, there, lost = [], [], 0
    for row in pictures:
        path = images_dir / f"{row.sha256}{SUFFIXES.get(row.media_type, '.png')}"
        try:
            place_picture(blobs.local_path(row.sha256, folder / "cache"), path)
        except StoreError:
            lost += 1
            continue
        there.append(row)
        group = part_of(row)
        images.append(
            TrainingImage(
                path=str(path),
                sha256=row.sha256,
                judgement=row.judgement,
                defect_class=row.defect_class,
                group=group,
                use=use[group],
                source=row.source,
            )
        )
    if not images:
        raise StoreError(f"training {training.training_id}: none of its {lost} pictures is stored any more")
    dataset_id = keep_version(database, blobs, training, rows=there, use=use, settings=settings, now=now)
    job = TrainingJob(
        training_id=training.training_id,
        dataset_id=dataset_id,
        product=training.product,
        detector=training.detector,
        reason=training.reason[:1000],
        is_simulated=training.is_simulated,
        images=images,
        champion_dir=str(champion_dir) if champion_dir else None,
        champion_package_id=training.champion_package_id if champion_dir else None,
        size_px=field.size_px,
        tiles=field.tiles,
        threads=settings.threads,
        workers=workers,
        is_resumable=True,
        output_dir=str(folder / OUTPUT_FOLDER),
    )
    return job, lost


def is_laid_out(attempt: Attempt) -> bool:
    """Whether its job and all the pictures that it names are there."""
    try:
        job = codec.decode(TrainingJob, attempt.job_path.read_bytes())
    except (OSError, codec.CodecError):
        return False
    return all(Path(image.path).is_file() for image in job.images)


def counts_of(job: TrainingJob) -> Counter[Judgement]:
    """Pictures by judgement."""
    return Counter(image.judgement for image in job.images)


def place_picture(source: Path, destination: Path) -> None:
    """A hard link where the disk allows it: retention may then delete the blob without harm to the training."""
    if destination.exists():
        return
    try:
        os.link(source, destination)
    except OSError:
        beside = destination.with_name(f".{destination.name}")
        shutil.copyfile(source, beside)
        beside.replace(destination)
