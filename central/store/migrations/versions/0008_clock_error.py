# SPDX-License-Identifier: Apache-2.0
"""How far the capture time of an inspection is off, where its station found that."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; earlier inspections say nothing of it."""
    op.add_column("inspection", sa.Column("clock_error_s", sa.Float(), nullable=True))


def downgrade() -> None:
    """Forget it."""
    with op.batch_alter_table("inspection") as batch_op:
        batch_op.drop_column("clock_error_s")
