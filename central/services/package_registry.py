# SPDX-License-Identifier: Apache-2.0
"""The registry of packages: from a trainer's folder to a published row, and who the champion is.

Trusts nothing the trainer says: the id is recomputed, every file's digest is checked while it is published. Decides
nothing about promotion. Called by learning, promoting, rollouts and the routes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlmodel import Session, col, select

from central.errors import ConflictError
from central.store.learning_tables import Champion, Package, Promotion, RolloutRow, Training
from central.trust.repository import PackageRepository
from contracts import codec
from contracts.jobs import EvaluationReport
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import PromotionOutcome

_MOST_MANIFEST_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class KnownChampion:
    """The champion of a product and when it had learned: what was judged later is new to it."""

    package_id: str
    trained_at: datetime


@dataclass(frozen=True)
class OnItsWay:
    """A package that is not through yet, and what a person can do about it."""

    package_id: str
    standing: str
    remedy: str


def champion_of(session: Session, product: str, *, is_simulated: bool) -> KnownChampion | None:
    """The package whose verdicts act for a product; None: none yet."""
    champion = session.get(Champion, (product, is_simulated))
    if champion is None:
        return None
    package = session.get_one(Package, champion.package_id)
    training = session.get(Training, package.training_id) if package.training_id else None
    return KnownChampion(package.package_id, training.created_at if training else package.created_at)


def promoted_without_rollout(session: Session) -> list[Package]:
    """Packages that the gate promoted over the champion of today and that no rollout took up yet, oldest first."""
    has_rollout = select(RolloutRow.package_id)
    candidates = session.exec(
        select(Package, Promotion)
        .join(Promotion, col(Promotion.package_id) == Package.package_id)
        .where(Promotion.outcome == PromotionOutcome.PROMOTED, col(Package.package_id).not_in(has_rollout))
        .order_by(col(Promotion.decided_at))
    ).all()
    found = []
    for package, promotion in candidates:
        champion = champion_of(session, package.product, is_simulated=package.is_simulated)
        if promotion.champion_package_id == (champion.package_id if champion else None):
            found.append(package)
    return found


def package_under_way(
    session: Session, product: str, is_withdrawn: Callable[[str], bool] = lambda _package_id: False
) -> OnItsWay | None:
    """A trained package of the product that the gate has yet to judge, or that waits for its rollout; None: none.

    One that waits for its rollout and was withdrawn since gets none any more, so it holds nothing up.
    """
    undecided = session.exec(
        select(Package.package_id)
        .join(Promotion, col(Promotion.package_id) == Package.package_id, isouter=True)
        .where(
            Package.product == product,
            col(Promotion.package_id).is_(None),
            col(Package.training_id).is_not(None),
        )
    ).first()
    if undecided is not None:
        return OnItsWay(undecided, "awaits the gate", "wait for its word (GET /packages)")
    for package in promoted_without_rollout(session):
        if package.product == product and not is_withdrawn(package.package_id):
            remedy = "wait for its end, or begin it with POST /rollouts if the product's policy asks a person to"
            return OnItsWay(package.package_id, "awaits its rollout", remedy)
    return None


def set_champion(session: Session, package: Package, now: datetime) -> None:
    """Move the pointer; `since` also where the same package was rolled out to everybody again.

    What was given to some stations before that is no wish that still holds (`services/rollouts/catching_up.py`).
    """
    row = session.get(Champion, (package.product, package.is_simulated))
    if row is None:
        row = Champion(
            product=package.product, is_simulated=package.is_simulated, package_id=package.package_id, since=now
        )
    row.package_id, row.since = package.package_id, now
    session.add(row)


def register_package(
    folder: Path, evaluation: EvaluationReport, training: Training, repository: PackageRepository, now: datetime
) -> Package:
    """Check a trained package against its training, publish it, give its row (not yet added to a session).

    Raises:
        ConflictError: it is not what was asked for: other training, product, simulated kind or id.
        PackageRepositoryError: its files are not what its manifest says.
        CodecError: its manifest cannot be read.
    """
    content = (folder / MANIFEST_NAME).read_bytes()
    if len(content) > _MOST_MANIFEST_BYTES:
        raise ConflictError(f"package of {training.training_id}: manifest of {len(content)} bytes is too large")
    manifest = codec.decode(PackageManifest, content)
    package_id = hashlib.sha256(content).hexdigest()
    for what, expected, got in (
        ("package id", package_id, evaluation.package_id),
        ("training", training.training_id, evaluation.training_id),
        ("training in the manifest", training.training_id, manifest.lineage.training_id),
        ("product", training.product, manifest.product),
        ("is_simulated", training.is_simulated, manifest.is_simulated),
    ):
        if expected != got:
            raise ConflictError(f"package of {training.training_id}: {what}: expected {expected}, got {got}")
    repository.publish(folder, package_id, now)
    return Package(
        package_id=package_id,
        product=manifest.product,
        detector=manifest.detector,
        created_at=manifest.created_at,
        registered_at=now,
        size_bytes=len(content) + sum(file.size_bytes for file in manifest.files),
        manifest=content.decode(),
        training_id=training.training_id,
        dataset_id=training.dataset_id,
        is_simulated=manifest.is_simulated,
    )
