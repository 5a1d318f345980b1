# SPDX-License-Identifier: Apache-2.0
"""`sightline-central package import`: a package that was made outside central, into the registry and onto its way.

For what `sightline-models train`, `import-onnx` and `quantize` leave. Every file is checked before anything is written.
There are no judged parts of central's that the promotion gate could ask about such a package, so a person vouches for
it, by name and with a reason, and that stands with the package for good. Starts no rollout itself: a running central
takes it up, canary first, as with every promoted package. Called by `central.__main__`.
"""

import errno
import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlmodel import Session, col, select

from central.domain.promotion import Check
from central.errors import ConflictError, InvalidError
from central.services.package_registry import champion_of, package_under_way
from central.services.rollouts.planning import may_begin_by_itself
from central.store.database import Database, serialize_product
from central.store.learning_tables import OPEN_ROLLOUTS, Package, Promotion, RolloutRow
from central.trust.repository import PackageRepository
from contracts import codec
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import PromotionOutcome

_MOST_MANIFEST_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class Imported:
    """What came in. `is_new` False: this very package was known already, and nothing was changed.

    `begins_by_itself`: whether the product's policy leaves it to central to start its rollout.
    """

    package_id: str
    product: str
    is_simulated: bool
    is_new: bool
    begins_by_itself: bool = True


def import_package(
    database: Database, repository: PackageRepository, folder: Path, now: datetime, *, by: str, note: str
) -> Imported:
    """Check a package, publish it, register it as promoted by a person.

    Args:
        database: central's.
        repository: central's; published there under the package's digest.
        folder: the package, or the `OUT` of a training with `package/` in it.
        now: time of the decision.
        by: who vouches for it.
        note: why.

    Raises:
        InvalidError: no package, one that cannot be read, or files that are not what its manifest says; nothing was
            stored or published.
        ConflictError: a package of the product is on its way already, or this very one was withdrawn.
        PackageRepositoryError: central's repository is not whole.
    """
    folder = _folder_of(folder)
    content, manifest = _read_manifest(folder)
    package_id = hashlib.sha256(content).hexdigest()
    known = Imported(package_id, manifest.product, manifest.is_simulated, is_new=False)
    with database.read() as session:
        if session.get(Package, package_id) is not None:
            if repository.is_withdrawn(package_id):
                raise ConflictError(_withdrawn(known))
            return known
    # Before the repository sees any of it: what it finds wrong it takes away, and that may be published already.
    _check_files(folder, manifest)
    with database.read() as session:
        _refuse_another(session, manifest, repository)
    repository.publish(folder, package_id, now)
    with database.begin() as session:
        serialize_product(session, manifest.product)
        if session.get(Package, package_id) is not None:
            return known
        # Again: a rollout may have begun meanwhile. What is published already is no one's package until then.
        _refuse_another(session, manifest, repository)
        champion = champion_of(session, manifest.product, is_simulated=manifest.is_simulated)
        session.add(
            Package(
                package_id=package_id,
                product=manifest.product,
                detector=manifest.detector,
                created_at=manifest.created_at,
                registered_at=now,
                size_bytes=len(content) + sum(file.size_bytes for file in manifest.files),
                manifest=content.decode(),
                is_simulated=manifest.is_simulated,
            )
        )
        session.flush()
        session.add(
            Promotion(
                package_id=package_id,
                champion_package_id=champion.package_id if champion else None,
                outcome=PromotionOutcome.PROMOTED,
                decided_at=now,
                checks=[asdict(check) for check in _vouched(manifest, by, note)],
            )
        )
        begins = may_begin_by_itself(session, manifest.product)
    return Imported(package_id, manifest.product, manifest.is_simulated, is_new=True, begins_by_itself=begins)


def _withdrawn(known: Imported) -> str:
    return (
        f"package {known.package_id[:12]} of {known.product} is here already and was withdrawn: no station takes it "
        "again, and importing it changes nothing. Import another one; trained or quantized anew it is another package"
    )


def _refuse_another(session: Session, manifest: PackageManifest, repository: PackageRepository) -> None:
    start = f"product {manifest.product}: package "
    if (waiting := package_under_way(session, manifest.product, repository.is_withdrawn)) is not None:
        withdrawal = "or withdraw it (`keys revoke packaging --withdraw`)"
        raise ConflictError(f"{start}{waiting.package_id[:12]} {waiting.standing}; {waiting.remedy}, {withdrawal}")
    if (rolled_out := _rolled_out_now(session, manifest)) is not None:
        raise ConflictError(f"{start}{rolled_out[:12]} is under way; wait until its rollout has ended, or abort it")


def _rolled_out_now(session: Session, manifest: PackageManifest) -> str | None:
    """The package of an open rollout. Once it is champion, what came in meanwhile would begin no rollout any more."""
    wanted = select(RolloutRow.package_id).where(
        RolloutRow.product == manifest.product,
        RolloutRow.is_simulated == manifest.is_simulated,
        col(RolloutRow.state).in_(OPEN_ROLLOUTS),
    )
    return session.exec(wanted).first()


def _vouched(manifest: PackageManifest, by: str, note: str) -> list[Check]:
    ranks = ", ".join(
        f"{variant.variant} {'not known' if variant.image_auroc is None else format(variant.image_auroc, '.3f')}"
        for variant in manifest.variants
    )
    lineage = manifest.lineage
    made = f"{lineage.sound_parts} sound and {lineage.defective_parts} defective parts, {lineage.trainer_version}"
    return [
        Check("vouched for by a person", is_passed=True, detail=f"{by}: {note}"),
        Check("measured where it was made, not here", is_passed=True, detail=f"AUROC {ranks}; learnt from {made}"),
    ]


def _folder_of(folder: Path) -> Path:
    inner = folder / "package"
    return inner if not (folder / MANIFEST_NAME).is_file() and (inner / MANIFEST_NAME).is_file() else folder


def _read_manifest(folder: Path) -> tuple[bytes, PackageManifest]:
    path = folder / MANIFEST_NAME
    try:
        _check_plain(path)
        with path.open("rb") as file:
            content = file.read(_MOST_MANIFEST_BYTES + 1)
        if len(content) > _MOST_MANIFEST_BYTES:
            msg = f"{path}: expected at most {_MOST_MANIFEST_BYTES} bytes"
            raise InvalidError(msg)
        return content, codec.decode(PackageManifest, content)
    except OSError as error:
        msg = (
            f"FOLDER: expected a package, as `sightline-models train` leaves it in OUT/package, got {folder}: "
            f"{MANIFEST_NAME}: {error.strerror}"
        )
        raise InvalidError(msg) from error
    except (codec.CodecError, ValidationError, UnicodeDecodeError) as error:
        msg = f"{path}: expected the manifest of a package: {error}"
        raise InvalidError(msg) from error


def _check_files(folder: Path, manifest: PackageManifest) -> None:
    faults = []
    for file in manifest.files:
        path = folder / file.name
        try:
            digest = _digest(path)
        except OSError as error:
            faults.append(f"{file.name}: {error.strerror}")
            continue
        if digest != file.sha256:
            faults.append(f"{file.name}: expected SHA-256 {file.sha256[:12]}…, got {digest[:12]}…")
    if faults:
        msg = f"{folder}: not the package that its manifest names: {'; '.join(faults)}; copy it again, whole"
        raise InvalidError(msg)


def _check_plain(path: Path) -> None:
    """Refuse a pipe or a device, which would be waited for, or read, for ever.

    Raises:
        OSError: it is one.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "expected a plain file, got a pipe, socket or device")


def _digest(path: Path) -> str:
    _check_plain(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
