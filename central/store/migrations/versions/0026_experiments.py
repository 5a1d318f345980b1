# SPDX-License-Identifier: Apache-2.0
"""What each training was given and how it went, kept after its files."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0024"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table. Of trainings up to here nothing but their own rows is known."""
    op.create_table(
        "experiment",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("job_sha256", sa.String(length=64), nullable=False),
        sa.Column("laid_out_at", _TIME, nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("made_by", sa.JSON(), nullable=True),
        sa.Column("curves", sa.JSON(), nullable=False),
        sa.Column("told_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["training_id"], ["training.training_id"], name=op.f("fk_experiment_training_id")),
        sa.PrimaryKeyConstraint("training_id", name=op.f("pk_experiment")),
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("experiment")
