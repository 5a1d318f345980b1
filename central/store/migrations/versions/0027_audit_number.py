# SPDX-License-Identifier: Apache-2.0
"""Audits are called by a number that says nothing of their order; blocks of charts are found by their time."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give those that are there a number by chance, of 52 bits."""
    op.add_column("audit", sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    chance = "(random() & 4503599627370495)" if is_sqlite else "floor(random() * 4503599627370496)::bigint"
    op.execute(f"UPDATE audit SET number = {chance} + 1")  # noqa: S608 -- one of two constants
    op.create_index(op.f("ix_audit_number"), "audit", ["number"], unique=True)
    op.create_index(op.f("ix_chart_block_at"), "chart_block", ["at"])


def downgrade() -> None:
    """Forget both."""
    op.drop_index(op.f("ix_chart_block_at"), "chart_block")
    op.drop_index(op.f("ix_audit_number"), "audit")
    op.drop_column("audit", "number")
