# SPDX-License-Identifier: Apache-2.0
"""Who asked for a training and for which site, whether it is to make room, and what each start of it used."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None

_WORD = sa.String(length=32)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """What was used before is not known: trainings from before have no attempts."""
    with op.batch_alter_table("training") as batch_op:
        batch_op.add_column(sa.Column("trigger", _WORD, nullable=False, server_default="PERSON"))
        batch_op.add_column(sa.Column("site", sa.String(63), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("queued_at", _TIME, nullable=True))
        batch_op.add_column(sa.Column("stop_asked_at", _TIME, nullable=True))
        batch_op.add_column(sa.Column("stop_because", _WORD, nullable=True))
        batch_op.add_column(sa.Column("preemptions", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE training SET trigger = 'ALARM' WHERE alarm_id IS NOT NULL")
    op.create_table(
        "training_attempt",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("backend", sa.String(length=32), nullable=False),
        sa.Column("queued_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("end", _WORD, nullable=True),
        sa.Column("gpus", sa.Float(), nullable=False),
        sa.Column("cpu_s", sa.Float(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("wall_s", sa.Float(), nullable=False),
        sa.Column("energy_wh", sa.Float(), nullable=True),
        sa.Column("cost", sa.Float(), nullable=True),
        sa.Column("currency", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"], ["training.training_id"], name=op.f("fk_training_attempt_training_id")
        ),
        sa.PrimaryKeyConstraint("training_id", "number", name=op.f("pk_training_attempt")),
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_table("training_attempt")
    with op.batch_alter_table("training") as batch_op:
        for column in ("preemptions", "stop_because", "stop_asked_at", "queued_at", "site", "trigger"):
            batch_op.drop_column(column)
