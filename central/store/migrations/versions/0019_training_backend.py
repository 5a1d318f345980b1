# SPDX-License-Identifier: Apache-2.0
"""Where a training runs, what that place calls it, and how often an attempt was lost."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All trainings up to here were processes of central's machine: their number is their handle."""
    with op.batch_alter_table("training") as batch_op:
        batch_op.add_column(sa.Column("backend", sa.String(32), nullable=False, server_default="local"))
        batch_op.add_column(sa.Column("handle", sa.String(200), nullable=True))
        batch_op.add_column(sa.Column("losses", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE training SET handle = CAST(pid AS VARCHAR(200)) WHERE pid IS NOT NULL")
    with op.batch_alter_table("training") as batch_op:
        batch_op.drop_column("pid")


def downgrade() -> None:
    """What runs elsewhere has no number here."""
    with op.batch_alter_table("training") as batch_op:
        batch_op.add_column(sa.Column("pid", sa.Integer(), nullable=True))
    op.execute("UPDATE training SET pid = CAST(NULLIF(handle, '') AS INTEGER) WHERE backend = 'local'")
    with op.batch_alter_table("training") as batch_op:
        for column in ("losses", "handle", "backend"):
            batch_op.drop_column(column)
