# SPDX-License-Identifier: Apache-2.0
"""Shadow: verdicts of challengers, and audits of parts on which champion and challenger disagree."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table; earlier audits were drawn by chance."""
    op.create_table(
        "shadow_verdict",
        sa.Column("id", _number(), nullable=False),
        sa.Column("station_id", _number(), nullable=False),
        sa.Column("epoch", _number(), nullable=False),
        sa.Column("sequence", _number(), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("infer_ms", sa.Float(), nullable=True),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_shadow_verdict_station_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_verdict")),
        sa.UniqueConstraint(
            "station_id", "epoch", "sequence", name=op.f("uq_shadow_verdict_station_id_epoch_sequence")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_shadow_verdict_package_id_id", "shadow_verdict", ["package_id", "id"])
    op.add_column("audit", sa.Column("is_discordant", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_column("is_discordant")
    op.drop_table("shadow_verdict")
