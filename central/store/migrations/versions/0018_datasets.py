# SPDX-License-Identifier: Apache-2.0
"""Dataset versions, the test set that each product keeps, and who brought a reference part."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make both tables. Trainings and packages from before have no version: what they learnt is not known any more."""
    op.create_table(
        "dataset_version",
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("pictures", "parts", "good", "defective", "held_out", "confirmed")
        ),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", _number(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_dataset_version")),
    )
    op.create_index("ix_dataset_version_product", "dataset_version", ["product"])
    op.create_table(
        "held_out_picture",
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("part_group", sa.String(length=200), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset_version.dataset_id"], name=op.f("fk_held_out_picture_dataset_id")
        ),
        sa.PrimaryKeyConstraint("product", "is_simulated", "sha256", name=op.f("pk_held_out_picture")),
    )
    for table in ("training", "package"):
        op.add_column(table, sa.Column("dataset_id", sa.String(length=64), nullable=True))
    op.add_column("labelled_picture", sa.Column("added_by", sa.String(length=80), nullable=True))


def downgrade() -> None:
    """Forget versions and names; the sides of parts stay."""
    op.drop_column("labelled_picture", "added_by")
    for table in ("training", "package"):
        op.drop_column(table, "dataset_id")
    op.drop_table("held_out_picture")
    op.drop_index("ix_dataset_version_product", "dataset_version")
    op.drop_table("dataset_version")
