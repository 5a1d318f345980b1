# SPDX-License-Identifier: Apache-2.0
"""What the gate measured of a package before any station saw it, what each product demands, and who overruled it."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Packages from before were promoted on their trainings' held-out pictures; that stands."""
    op.create_table(
        "gate_run",
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("champion_package_id", sa.String(length=64), nullable=True),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("handle", sa.String(length=200), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("test_pictures", sa.Integer(), nullable=False),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["package_id"], ["package.package_id"], name=op.f("fk_gate_run_package_id")),
        sa.PrimaryKeyConstraint("package_id", name=op.f("pk_gate_run")),
    )
    op.create_index("ix_gate_run_state", "gate_run", ["state"])
    op.create_table(
        "gate_policy",
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("recall_margin", sa.Float(), nullable=False),
        sa.Column("overkill_margin", sa.Float(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("when_missing", sa.String(length=32), nullable=False),
        sa.Column("needs_audits", sa.Boolean(), nullable=False),
        sa.Column("deadline_ms", sa.Float(), nullable=False),
        sa.Column("most_memory_mb", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.String(length=80), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("product", name=op.f("pk_gate_policy")),
    )
    op.create_table(
        "gate_overrule",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["package.package_id"], name=op.f("fk_gate_overrule_package_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_overrule")),
        sa.UniqueConstraint("package_id", name=op.f("uq_gate_overrule_package_id")),
    )


def downgrade() -> None:
    """Forget what was measured. Promotions stay as they were decided."""
    op.drop_table("gate_overrule")
    op.drop_table("gate_policy")
    op.drop_index("ix_gate_run_state", "gate_run")
    op.drop_table("gate_run")
