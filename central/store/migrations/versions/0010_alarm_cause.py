# SPDX-License-Identifier: Apache-2.0
"""The cause of an alarm as a person found it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = ("cause", "cause_by", "cause_note", "cause_at")


def upgrade() -> None:
    """Add the columns; of earlier alarms nobody has said a cause."""
    with op.batch_alter_table("alarm") as batch_op:
        batch_op.add_column(sa.Column("cause", sa.String(32), nullable=True))
        batch_op.add_column(sa.Column("cause_by", sa.String(63), nullable=True))
        batch_op.add_column(sa.Column("cause_note", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("cause_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Forget what people said."""
    with op.batch_alter_table("alarm") as batch_op:
        for column in _COLUMNS:
            batch_op.drop_column(column)
