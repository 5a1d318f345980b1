# SPDX-License-Identifier: Apache-2.0
"""Routes of alarms, what was told of each alarm, and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Make the three tables. Alarms from before count as told: nobody is called for what was there already."""
    op.create_table(
        "alarm_route",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        _time("changed_at"),
        sa.Column("changed_by", sa.String(length=63), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        _time("failing_since", nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        _time("next_attempt_at", nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        _time("last_sent_at", nullable=True),
        sa.Column("unsaid", _number(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alarm_route")),
    )
    op.create_table(
        "alarm_told",
        sa.Column("alarm_id", _number(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_alarm_told_alarm_id")),
        sa.PrimaryKeyConstraint("alarm_id", name=op.f("pk_alarm_told")),
    )
    op.create_index("ix_alarm_told_state", "alarm_told", ["state"])
    op.create_table(
        "alarm_delivery",
        sa.Column("id", _number(), nullable=False),
        sa.Column("route", sa.String(length=63), nullable=False),
        sa.Column("alarm_id", _number(), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        _time("at"),
        sa.Column("severity", sa.String(length=32), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("message_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        _time("due_at"),
        sa.Column("lead_id", _number(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("first_attempt_at", nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        _time("done_at", nullable=True),
        sa.ForeignKeyConstraint(["route"], ["alarm_route.name"], name=op.f("fk_alarm_delivery_route")),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarm.id"], name=op.f("fk_alarm_delivery_alarm_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_delivery")),
        sa.UniqueConstraint(
            "route", "alarm_id", "event", "number", name=op.f("uq_alarm_delivery_route_alarm_id_event_number")
        ),
        sa.UniqueConstraint("message_id", name=op.f("uq_alarm_delivery_message_id")),
    )
    op.create_index("ix_alarm_delivery_route_state", "alarm_delivery", ["route", "state"])
    op.create_index("ix_alarm_delivery_lead_id", "alarm_delivery", ["lead_id"])
    op.create_index("ix_alarm_delivery_alarm_id", "alarm_delivery", ["alarm_id"])
    op.execute("INSERT INTO alarm_told (alarm_id, state) SELECT id, state FROM alarm")


def downgrade() -> None:
    """Forget them, and what was still on its way."""
    op.drop_table("alarm_delivery")
    op.drop_table("alarm_told")
    op.drop_table("alarm_route")
