# SPDX-License-Identifier: Apache-2.0
"""What started a training and why none was; labels are counted from a time on; parts that are asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add them, and what counts new labels by."""
    op.create_table(
        "training_decision",
        sa.Column("id", _number(), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("trigger", sa.String(length=32), nullable=False),
        sa.Column("alarm_id", _number(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_yes", sa.Boolean(), nullable=False),
        sa.Column("because", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("training_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_decision")),
    )
    op.create_index(
        "ix_training_decision_product", "training_decision", ["product", "is_simulated", "trigger", "alarm_id", "id"]
    )
    op.create_index("ix_labelled_picture_product_added_at", "labelled_picture", ["product", "added_at"])
    op.add_column("audit", sa.Column("asked_because", sa.String(length=32), nullable=True))
    op.create_index("ix_audit_asked_because_drawn_at", "audit", ["asked_because", "drawn_at"])
    op.add_column("labelled_picture", sa.Column("earlier", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Forget the decisions; the trainings stay. What was asked for must not pass for what chance drew: it goes."""
    audit = sa.table("audit", sa.column("asked_because", sa.String()), sa.column("id", _number()))
    label = sa.table("labelled_picture", sa.column("audit_id", _number()), sa.column("source", sa.String()))
    op.execute(label.update().where(label.c.source == "ASKED").values(source="REVIEW", audit_id=None))
    op.execute(audit.delete().where(audit.c.asked_because.is_not(None)))
    op.drop_index("ix_audit_asked_because_drawn_at", "audit")
    op.drop_column("audit", "asked_because")
    op.drop_column("labelled_picture", "earlier")
    op.drop_index("ix_labelled_picture_product_added_at", "labelled_picture")
    op.drop_index("ix_training_decision_product", "training_decision")
    op.drop_table("training_decision")
