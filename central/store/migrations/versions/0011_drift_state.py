# SPDX-License-Identifier: Apache-2.0
"""What the drift monitors know of each station."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table; the monitors learn from what is stored."""
    op.create_table(
        "drift_state",
        sa.Column("station_id", _number(), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("upto_inspection_id", _number(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("monitor", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_drift_state_station_id")),
        sa.PrimaryKeyConstraint("station_id", "is_simulated", name=op.f("pk_drift_state")),
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("drift_state")
