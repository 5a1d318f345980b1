# SPDX-License-Identifier: Apache-2.0
"""Assignments are found by their reason: whom catching up gave a package to, among all of a fleet's years."""

from alembic import op

revision = "0030"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An index on what is there."""
    op.create_index(op.f("ix_assignment_reason_issued_at"), "assignment", ["reason", "issued_at"])


def downgrade() -> None:
    """Without it."""
    op.drop_index(op.f("ix_assignment_reason_issued_at"), "assignment")
