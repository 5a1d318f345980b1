# SPDX-License-Identifier: Apache-2.0
"""An audit may be asked of several inspectors, and what their answers came to is an outcome of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_OLD = "uq_audit_inspection_id"
_NEW = "uq_audit_inspection_id_ask"


def upgrade() -> None:
    """Audits up to here were asked once: the one judgement is the outcome."""
    _let_labels_go()
    with op.batch_alter_table("audit") as batch_op:
        batch_op.add_column(sa.Column("ask", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("is_repeat", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("outcome", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.drop_constraint(_OLD, type_="unique")
        batch_op.create_unique_constraint(_NEW, ["inspection_id", "ask"])
    _take_labels_back()
    op.execute("UPDATE audit SET outcome = judgement, settled_at = judged_at WHERE state = 'JUDGED'")


def downgrade() -> None:
    """Keep what was asked first, with the answer that came first."""
    op.execute("UPDATE labelled_picture SET audit_id = NULL WHERE audit_id IN (SELECT id FROM audit WHERE ask > 1)")
    op.execute("DELETE FROM audit WHERE ask > 1")
    _let_labels_go()
    with op.batch_alter_table("audit") as batch_op:
        batch_op.drop_constraint(_NEW, type_="unique")
        for name in ("settled_at", "outcome", "is_repeat", "ask"):
            batch_op.drop_column(name)
        batch_op.create_unique_constraint(_OLD, ["inspection_id"])
    _take_labels_back()


def _let_labels_go() -> None:
    """SQLite copies the table and drops the old one, which rows that point to it forbid."""
    op.execute("CREATE TEMPORARY TABLE label_of_audit AS SELECT id, audit_id FROM labelled_picture")
    op.execute("UPDATE labelled_picture SET audit_id = NULL")


def _take_labels_back() -> None:
    op.execute(
        "UPDATE labelled_picture SET audit_id = "
        "(SELECT audit_id FROM label_of_audit WHERE label_of_audit.id = labelled_picture.id)"
    )
    op.execute("DROP TABLE label_of_audit")
