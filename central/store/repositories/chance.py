# SPDX-License-Identifier: Apache-2.0
"""The one condition for what estimates may rest on: audits that chance drew."""

from typing import Any

from sqlalchemy import and_


def is_by_chance(audit: Any) -> Any:
    """Whether chance drew an audit: neither a challenger's disagreement put it into the queue nor was it asked for.

    Args:
        audit: the row class, an alias of it, or the columns of its table.
    """
    return and_(audit.is_discordant.is_(False), audit.asked_because.is_(None))
