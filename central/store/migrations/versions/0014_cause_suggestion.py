# SPDX-License-Identifier: Apache-2.0
"""What is likeliest behind each alarm."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table; open alarms are asked about at the next tick."""
    op.create_table(
        "cause_suggestion",
        sa.Column("alarm_id", _number(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("causes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_cause_suggestion_alarm_id")),
        sa.PrimaryKeyConstraint("alarm_id", name=op.f("pk_cause_suggestion")),
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("cause_suggestion")
