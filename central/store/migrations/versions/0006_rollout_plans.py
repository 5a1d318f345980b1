# SPDX-License-Identifier: Apache-2.0
"""What people set for rollouts: policies of products, freezes, labels of stations; and what each step rested on."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the four tables; give rollouts their plan."""
    op.create_table(
        "rollout_policy",
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("risk", sa.String(length=32), nullable=False),
        sa.Column("is_automatic", sa.Boolean(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.String(length=80), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("product", name=op.f("pk_rollout_policy")),
    )
    op.create_table(
        "freeze",
        sa.Column("id", _number(), nullable=False),
        sa.Column("site", sa.String(length=63), nullable=True),
        sa.Column("begins", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.String(length=80), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_by", sa.String(length=80), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_freeze")),
    )
    op.create_index("ix_freeze_ends", "freeze", ["ends"])
    op.create_table(
        "station_label",
        sa.Column("station_id", _number(), nullable=False),
        sa.Column("label", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=63), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_station_label_station_id")),
        sa.PrimaryKeyConstraint("station_id", "label", name=op.f("pk_station_label")),
    )
    op.create_table(
        "rollout_event",
        sa.Column("id", _number(), nullable=False),
        sa.Column("rollout_id", _number(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.id"], name=op.f("fk_rollout_event_rollout_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout_event")),
    )
    op.create_index("ix_rollout_event_rollout_id", "rollout_event", ["rollout_id"])
    with op.batch_alter_table("rollout") as rollout:
        rollout.add_column(sa.Column("risk", sa.String(length=32), nullable=False, server_default="STANDARD"))
        rollout.add_column(sa.Column("plan", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("rollout") as rollout:
        rollout.drop_column("plan")
        rollout.drop_column("risk")
    for name in ("rollout_event", "station_label", "freeze", "rollout_policy"):
        op.drop_table(name)
