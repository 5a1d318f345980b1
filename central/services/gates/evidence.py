# SPDX-License-Identifier: Apache-2.0
"""The gate's evidence as one document that needs nothing else, the person's word over it, and products' policies.

Measures and decides nothing. Every function works in the caller's transaction. Called by the routes.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session

from central.errors import ConflictError, ForbiddenError, NotFoundError
from central.services.package_registry import champion_of
from central.store.dataset_tables import DatasetVersion
from central.store.gate_tables import GateOverrule, GateRun
from central.store.learning_tables import Package, Promotion, Training
from central.store.repositories.gates import overrule_of
from contracts.gating import GateJob, GateReport
from contracts.manifest import PackageManifest
from contracts.vocabulary import PromotionOutcome, Role, WhenMissing

FORMAT: Final = "sightline-gate-evidence"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class Said:
    """A person's word: who, with which role, and why."""

    by: str
    role: Role
    reason: str


def find_gate(session: Session, package_id: str) -> GateRun:
    """What was measured of a package.

    Raises:
        NotFoundError: nothing: no such package, one from outside, or one that was refused before.
    """
    row = session.get(GateRun, package_id)
    if row is None:
        why = "no such package" if session.get(Package, package_id) is None else "it was not held against a champion"
        raise NotFoundError(f"gate of package {package_id[:12]}: {why}")
    return row


def overrule(session: Session, package_id: str, said: Said, now: datetime) -> GateOverrule:
    """Let a package out that the gate held back; its rollout then begins as the product's policy says.

    An engineer may where evidence is all that is missing and the product's terms say that a person is asked; what
    failed, and what the terms let fail, is an administrator's to overrule.

    Raises:
        NotFoundError: no such package.
        ConflictError: the gate has not decided, it promoted the package, or another package became champion meanwhile.
        ForbiddenError: this role may not.
    """
    package, promotion = session.get(Package, package_id), session.get(Promotion, package_id)
    if package is None:
        raise NotFoundError(f"package {package_id[:12]}: no such package")
    if promotion is None:
        raise ConflictError(f"package {package_id[:12]}: the gate has not decided yet; wait for it")
    if promotion.outcome is PromotionOutcome.PROMOTED:
        raise ConflictError(f"package {package_id[:12]}: it is promoted already; there is nothing to overrule")
    champion = champion_of(session, package.product, is_simulated=package.is_simulated)
    if promotion.champion_package_id != (champion.package_id if champion else None):
        raise ConflictError(
            f"package {package_id[:12]}: another package became champion since it was measured; train anew"
        )
    if said.role is not Role.ADMIN and not asks_person(session.get(GateRun, package_id), promotion):
        raise ForbiddenError(
            f"package {package_id[:12]}: the gate said {promotion.outcome.value}; expected role ADMIN to overrule "
            f"that, got {said.role.value}"
        )
    row = GateOverrule(
        package_id=package_id, outcome=promotion.outcome, at=now, by=said.by, role=said.role, reason=said.reason
    )
    promotion.outcome = PromotionOutcome.PROMOTED
    session.add_all([row, promotion])
    session.flush()
    return row


def asks_person(row: GateRun | None, promotion: Promotion | None) -> bool:
    """Whether evidence is all that is missing, and the terms say that a person is asked."""
    if row is None or row.evidence is None or promotion is None:
        return False
    is_missing = promotion.outcome is PromotionOutcome.NOT_ENOUGH_EVIDENCE
    return is_missing and row.evidence["terms"]["when_missing"] == WhenMissing.ASK.value


def document_of(session: Session, package_id: str) -> bytes:
    """All of it as JSON: what was judged and measured, by which digests, against which terms, and what was said.

    Raises:
        NotFoundError: as `find_gate`.
    """
    row = find_gate(session, package_id)
    package = session.get_one(Package, package_id)
    promotion = session.get(Promotion, package_id)
    told = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "product": row.product,
        "is_simulated": row.is_simulated,
        "package": _package(session, package_id),
        "champion": _package(session, row.champion_package_id),
        "training": _training(session, package),
        "outcome": promotion.outcome.value if promotion is not None else None,
        "decided_at": promotion.decided_at.isoformat() if promotion is not None else None,
        "checks": promotion.checks if promotion is not None else [],
        "overruled": _overruled(overrule_of(session, package_id)),
        "state": row.state.value,
        "error": row.error,
        "asked_at": row.asked_at.isoformat(),
        "measured_at": row.finished_at.isoformat() if row.finished_at else None,
        "evidence": row.evidence,
        "measured": _measured(row),
        "pictures": _pictures(row),
    }
    return json.dumps(told, indent=1, sort_keys=True).encode()


def _package(session: Session, package_id: str | None) -> dict[str, Any] | None:
    package = session.get(Package, package_id) if package_id is not None else None
    if package is None:
        return None
    manifest = PackageManifest.model_validate_json(package.manifest)
    dataset = session.get(DatasetVersion, package.dataset_id) if package.dataset_id else None
    return {
        "package_id": package.package_id,
        "created_at": package.created_at.isoformat(),
        "detector": package.detector.value,
        "files": [{"name": f.name, "sha256": f.sha256, "size_bytes": f.size_bytes} for f in manifest.files],
        "variants": [variant.model_dump(mode="json") for variant in manifest.variants],
        "limits": {"ok_limit": manifest.limits.ok_limit, "ng_limit": manifest.limits.ng_limit},
        "dataset": None
        if dataset is None
        else {
            "dataset_id": dataset.dataset_id,
            "file_sha256": dataset.file_sha256,
            "query": dataset.query,
            "pictures": dataset.pictures,
            "parts": dataset.parts,
            "held_out": dataset.held_out,
        },
    }


def _training(session: Session, package: Package) -> dict[str, Any] | None:
    training = session.get(Training, package.training_id) if package.training_id else None
    if training is None:
        return None
    return {
        "training_id": training.training_id,
        "reason": training.reason,
        "created_at": training.created_at.isoformat(),
        "champion_package_id": training.champion_package_id,
    }


def _overruled(row: GateOverrule | None) -> dict[str, Any] | None:
    return None if row is None else row.model_dump(mode="json", exclude={"id", "package_id"})


def _measured(row: GateRun) -> dict[str, Any] | None:
    if row.report is None:
        return None
    return GateReport.model_validate_json(row.report).model_dump(mode="json", exclude={"pictures"})


def _pictures(row: GateRun) -> list[dict[str, Any]]:
    """What is true of each picture beside what three graphs said of it; without paths of central's machine."""
    if row.job is None or row.report is None:
        return []
    known = {picture.sha256: picture for picture in GateJob.model_validate_json(row.job).pictures}
    report = GateReport.model_validate_json(row.report)
    return [
        {**known[each.sha256].model_dump(mode="json", exclude={"path"}), **each.model_dump(mode="json")}
        for each in report.pictures
        if each.sha256 in known
    ]
