# SPDX-License-Identifier: Apache-2.0
"""Rows of the gate: the newest runs, policies of products, who overruled. Used by routes and `services/gates/`."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from central.store.gate_tables import GateOverrule, GatePolicyRow, GateRun


def newest(session: Session, product: str | None, limit: int) -> Sequence[GateRun]:
    """Runs, newest first; of one product or of all."""
    wanted = select(GateRun).order_by(col(GateRun.asked_at).desc()).limit(limit)
    return session.exec(wanted if product is None else wanted.where(GateRun.product == product)).all()


def overrule_of(session: Session, package_id: str) -> GateOverrule | None:
    """The person's word over a package; None: there is none."""
    return session.exec(select(GateOverrule).where(GateOverrule.package_id == package_id)).first()


def policies(session: Session) -> Sequence[GatePolicyRow]:
    """By product."""
    return session.exec(select(GatePolicyRow).order_by(GatePolicyRow.product)).all()
