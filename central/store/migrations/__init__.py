# SPDX-License-Identifier: Apache-2.0
"""The database's history, one Alembic revision a step. `schema.py` runs it; rows are changed nowhere else at rest."""
