# SPDX-License-Identifier: Apache-2.0
"""How severely accepted parts are audited, shift by shift, and which shift an audit belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Everything begins under normal inspection. Older audits belong to no shift."""
    op.create_table(
        "audit_shift",
        sa.Column("id", _number(), nullable=False),
        sa.Column("station_id", _number(), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("shift", sa.String(length=32), nullable=False),
        _time("begins_at"),
        _time("ends_at"),
        _time("opened_at"),
        sa.Column("inspection", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _time("changed_at"),
        sa.Column("changed_by", sa.String(length=63), nullable=True),
        sa.Column("recent", sa.JSON(), nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("accepted_in_a_row", sa.Integer(), nullable=False),
        sa.Column("rejected_while_tightened", sa.Integer(), nullable=False),
        sa.Column("chance", sa.Float(), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=True),
        sa.Column("is_steady", sa.Boolean(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("budget", sa.Integer(), nullable=True),
        sa.Column("spent", sa.Float(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("drawn", sa.Integer(), nullable=False),
        _time("counted_at", nullable=True),
        sa.Column("audits", sa.Integer(), nullable=True),
        sa.Column("defective", sa.Integer(), nullable=True),
        sa.Column("is_accepted", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_audit_shift_station_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_shift")),
    )
    op.create_index("ix_audit_shift_station_id_product", "audit_shift", ["station_id", "product"])
    op.create_index("ix_audit_shift_counted_at", "audit_shift", ["counted_at"])
    op.add_column("audit", sa.Column("shift_id", _number(), nullable=True))
    op.create_index("ix_audit_shift_id", "audit", ["shift_id"])


def downgrade() -> None:
    """Forget shifts; the audits stay."""
    op.drop_index("ix_audit_shift_id", "audit")
    op.drop_column("audit", "shift_id")
    op.drop_table("audit_shift")
