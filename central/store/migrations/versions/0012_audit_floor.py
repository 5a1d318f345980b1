# SPDX-License-Identifier: Apache-2.0
"""Which audits equal chance drew, since others are drawn for their risk."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Up to here every part of a draw had the same chance, but those of a disagreement."""
    op.add_column("audit", sa.Column("is_floor", sa.Boolean(), nullable=False, server_default=sa.true()))
    audit = sa.table("audit", sa.column("is_floor", sa.Boolean()), sa.column("is_discordant", sa.Boolean()))
    op.execute(audit.update().where(audit.c.is_discordant.is_(sa.true())).values(is_floor=sa.false()))


def downgrade() -> None:
    """Forget it."""
    with op.batch_alter_table("audit") as batch_op:
        batch_op.drop_column("is_floor")
