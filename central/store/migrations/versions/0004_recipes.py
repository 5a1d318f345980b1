# SPDX-License-Identifier: Apache-2.0
"""Recipes: versions, pins, what each station was last sent, and what people did with them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "recipe_version",
        sa.Column("id", _number(), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("station", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("restored_from", sa.Integer(), nullable=True),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe_version")),
        sa.UniqueConstraint("product", "version", name=op.f("uq_recipe_version_product_version")),
    )
    op.create_index("ix_recipe_version_product_station", "recipe_version", ["product", "station"])
    op.create_table(
        "recipe_pin",
        sa.Column("station_id", _number(), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pinned_by", sa.String(length=80), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_recipe_pin_station_id")),
        sa.PrimaryKeyConstraint("station_id", "product", name=op.f("pk_recipe_pin")),
    )
    op.create_table(
        "recipe_assignment",
        sa.Column("id", _number(), nullable=False),
        sa.Column("station_id", _number(), nullable=False),
        sa.Column("number", _number(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_recipe_assignment_station_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe_assignment")),
        sa.UniqueConstraint("station_id", "number", name=op.f("uq_recipe_assignment_station_id_number")),
    )
    op.create_table(
        "recipe_deed",
        sa.Column("id", _number(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=80), nullable=False),
        sa.Column("act", sa.String(length=32), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("station", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe_deed")),
    )
    op.create_index("ix_recipe_deed_product", "recipe_deed", ["product"])


def downgrade() -> None:
    """Drop them."""
    for name in ("recipe_deed", "recipe_assignment", "recipe_pin", "recipe_version"):
        op.drop_table(name)
