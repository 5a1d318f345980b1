# SPDX-License-Identifier: Apache-2.0
"""Of an inspection: times of the stages capture, decide and actuate, the fault of its picture, its recipe's version."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIMES = ("capture_ms", "decide_ms", "actuate_ms")


def upgrade() -> None:
    """Add them; earlier rows keep none."""
    for name in _TIMES:
        op.add_column("inspection", sa.Column(name, sa.Float(), nullable=True))
    op.add_column("inspection", sa.Column("image_fault", sa.String(length=32), nullable=True))
    op.add_column("inspection", sa.Column("recipe_version", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("inspection", schema=None) as batch_op:
        for name in (*_TIMES, "image_fault", "recipe_version"):
            batch_op.drop_column(name)
