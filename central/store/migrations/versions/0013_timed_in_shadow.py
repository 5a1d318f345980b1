# SPDX-License-Identifier: Apache-2.0
"""What the champion took on a part when it was run once more in shadow, beside its challenger."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Of parts up to here it is not known."""
    op.add_column("shadow_verdict", sa.Column("champion_infer_ms", sa.Float(), nullable=True))


def downgrade() -> None:
    """Forget it."""
    with op.batch_alter_table("shadow_verdict") as batch_op:
        batch_op.drop_column("champion_infer_ms")
