# SPDX-License-Identifier: Apache-2.0
"""Limits of baking waves from the stations' own past, each look at them, and what rollouts wait for."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    time = sa.DateTime(timezone=True)
    op.create_table(
        "rollout_limit",
        sa.Column("rollout_id", number, nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("begun_at", time, nullable=False),
        sa.Column("begun", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.id"], name=op.f("fk_rollout_limit_rollout_id")),
        sa.PrimaryKeyConstraint("rollout_id", "wave", name=op.f("pk_rollout_limit")),
    )
    op.create_table(
        "rollout_look",
        sa.Column("id", number, nullable=False),
        sa.Column("rollout_id", number, nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("taken", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.id"], name=op.f("fk_rollout_look_rollout_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout_look")),
    )
    op.create_index("ix_rollout_look_rollout_id_wave", "rollout_look", ["rollout_id", "wave"])
    op.create_table(
        "rollout_wait",
        sa.Column("rollout_id", number, nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("since", time, nullable=False),
        sa.Column("alarm_id", number, nullable=True),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.id"], name=op.f("fk_rollout_wait_rollout_id")),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_rollout_wait_alarm_id")),
        sa.PrimaryKeyConstraint("rollout_id", "wave", "kind", name=op.f("pk_rollout_wait")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("rollout_wait")
    op.drop_index("ix_rollout_look_rollout_id_wave", "rollout_look")
    op.drop_table("rollout_look")
    op.drop_table("rollout_limit")
