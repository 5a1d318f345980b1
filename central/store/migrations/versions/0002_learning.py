# SPDX-License-Identifier: Apache-2.0
"""Trainings, packages, rollouts, alarms."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Trainings, packages, rollouts, alarms."""
    op.create_table(
        "alarm",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("open_key", sa.String(length=320), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("station", sa.String(length=200), nullable=True),
        sa.Column("product", sa.String(length=63), nullable=True),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("raised_at_inspection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("acknowledged_by", sa.String(length=63), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.String(length=63), nullable=True),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
        sa.UniqueConstraint("open_key", name=op.f("uq_alarm_open_key")),
    )
    with op.batch_alter_table("alarm", schema=None) as batch_op:
        batch_op.create_index("ix_alarm_kind_product", ["kind", "product"], unique=False)

    op.create_table(
        "package",
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("detector", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("training_id", sa.String(length=64), nullable=True),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("package_id", name=op.f("pk_package")),
    )
    with op.batch_alter_table("package", schema=None) as batch_op:
        batch_op.create_index("ix_package_product", ["product"], unique=False)

    op.create_table(
        "split_group",
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("part_group", sa.String(length=200), nullable=False),
        sa.Column("use", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("product", "is_simulated", "part_group", name=op.f("pk_split_group")),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("station_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("packages", sa.JSON(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("after_inspection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_assignment_station_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        sa.UniqueConstraint("station_id", "number", name=op.f("uq_assignment_station_id_number")),
    )
    op.create_table(
        "champion",
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["package.package_id"], name=op.f("fk_champion_package_id")),
        sa.PrimaryKeyConstraint("product", "is_simulated", name=op.f("pk_champion")),
    )
    op.create_table(
        "chart_block",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("station_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("last_inspection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("diverted", sa.Integer(), nullable=False),
        sa.Column("brightness", sa.Float(), nullable=True),
        sa.Column("log_score", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_chart_block_station_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chart_block")),
        sa.UniqueConstraint(
            "station_id",
            "product",
            "package_id",
            "is_simulated",
            "number",
            name=op.f("uq_chart_block_station_id_product_package_id_is_simulated_number"),
        ),
    )
    op.create_table(
        "promotion",
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("champion_package_id", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["package.package_id"], name=op.f("fk_promotion_package_id")),
        sa.PrimaryKeyConstraint("package_id", name=op.f("pk_promotion")),
    )
    op.create_table(
        "rollout",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("package_id", sa.String(length=64), nullable=False),
        sa.Column("previous_package_id", sa.String(length=64), nullable=True),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("alarm_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asked_stations", sa.JSON(), nullable=False),
        sa.Column("canary", sa.Integer(), nullable=False),
        sa.Column("bake_parts", sa.Integer(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_rollout_alarm_id")),
        sa.ForeignKeyConstraint(["package_id"], ["package.package_id"], name=op.f("fk_rollout_package_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout")),
    )
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.create_index("ix_rollout_package_id", ["package_id"], unique=False)
        batch_op.create_index("ix_rollout_state", ["state"], unique=False)

    op.create_table(
        "training",
        sa.Column("training_id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=63), nullable=False),
        sa.Column("detector", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("alarm_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("fraction", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("good", sa.Integer(), nullable=False),
        sa.Column("defective", sa.Integer(), nullable=False),
        sa.Column("audit_labels", sa.Integer(), nullable=False),
        sa.Column("labels_seen", sa.Integer(), nullable=False),
        sa.Column("champion_package_id", sa.String(length=64), nullable=True),
        sa.Column("package_id", sa.String(length=64), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("cancel_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("evaluation", sa.Text(), nullable=True),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_training_alarm_id")),
        sa.PrimaryKeyConstraint("training_id", name=op.f("pk_training")),
    )
    with op.batch_alter_table("training", schema=None) as batch_op:
        batch_op.create_index("ix_training_product", ["product"], unique=False)
        batch_op.create_index("ix_training_state", ["state"], unique=False)


def downgrade() -> None:
    """Back to the revision before."""
    with op.batch_alter_table("training", schema=None) as batch_op:
        batch_op.drop_index("ix_training_state")
        batch_op.drop_index("ix_training_product")

    op.drop_table("training")
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.drop_index("ix_rollout_state")
        batch_op.drop_index("ix_rollout_package_id")

    op.drop_table("rollout")
    op.drop_table("promotion")
    op.drop_table("chart_block")
    op.drop_table("champion")
    op.drop_table("assignment")
    op.drop_table("split_group")
    with op.batch_alter_table("package", schema=None) as batch_op:
        batch_op.drop_index("ix_package_product")

    op.drop_table("package")
    with op.batch_alter_table("alarm", schema=None) as batch_op:
        batch_op.drop_index("ix_alarm_kind_product")

    op.drop_table("alarm")
