# SPDX-License-Identifier: Apache-2.0
"""Names that central has heard of: sites, lines, stations, products. A mistyped one is noticed while it is said.

Reads rows, no rule. Used by the routes that people set things with, and by `services/rollouts/naming.py`.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select

from central.domain.rollout_plan import line_of, site_of
from central.store.learning_tables import Package, Training
from central.store.recipe_tables import RecipeVersion
from central.store.tables import LabelledPicture, RollupMinute, Station

# Of parts: the minutes of a day are few rows, those of a year are not, and whatever is made has a recipe or package.
_PARTS_WITHIN: Final = timedelta(hours=24)


def sites(session: Session) -> list[str]:
    """Sites of all stations ever heard of, by name."""
    return sorted({site_of(address) for address in session.exec(select(Station.address)).all()})


def lines(session: Session) -> list[str]:
    """Their lines as `site/line`, by name."""
    return sorted({line_of(address) for address in session.exec(select(Station.address)).all()})


def products(session: Session, now: datetime) -> list[str]:
    """Products of recipes, judged pictures, trainings, packages and of the parts of a day, by name."""
    found = set[str]()
    for column in (RecipeVersion.product, LabelledPicture.product, Training.product, Package.product):
        found |= set(session.exec(select(column).distinct()).all())
    made = select(RollupMinute.product).where(col(RollupMinute.minute) >= now - _PARTS_WITHIN).distinct()
    return sorted(name for name in found | set(session.exec(made).all()) if name)
