# SPDX-License-Identifier: Apache-2.0
"""The gates of rollouts in shadow, as they stand."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "rollout_gate",
        sa.Column("rollout_id", number, nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.id"], name=op.f("fk_rollout_gate_rollout_id")),
        sa.PrimaryKeyConstraint("rollout_id", "wave", name=op.f("pk_rollout_gate")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("rollout_gate")
