# SPDX-License-Identifier: Apache-2.0
"""How the package saw each part as a whole, and the novelty monitors that read it."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add both. Of parts up to here no embedding is known."""
    op.add_column("inspection", sa.Column("embedding", sa.LargeBinary(), nullable=True))
    op.create_table(
        "novelty_state",
        sa.Column("station_id", _number(), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("upto_inspection_id", _number(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("monitor", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_novelty_state_station_id")),
        sa.PrimaryKeyConstraint("station_id", "is_simulated", "product", "package_id", name=op.f("pk_novelty_state")),
    )


def downgrade() -> None:
    """Forget both."""
    op.drop_table("novelty_state")
    op.drop_column("inspection", "embedding")
