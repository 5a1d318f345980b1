# SPDX-License-Identifier: Apache-2.0
"""Who has a package that is to be withdrawn, and who would go back to it: what `keys revoke --withdraw` says first.

Reads the database, changes nothing. Called by `central/keys_command.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlmodel import select

from central.domain.naming import some_of
from central.domain.way_back import WayBack
from central.errors import CentralError
from central.services.rollouts.ways_back import leads_back_to
from central.settings import load_settings
from central.store.database import Database
from central.store.learning_tables import Champion, RolloutRow
from central.store.schema import require_current
from central.store.tables import Station


def uses_of(settings: Path, package_id: str, is_gone: Callable[[str], bool]) -> list[str]:
    """Warnings, each a line. Nobody stops judging by a withdrawal alone; a rollout that is taken back may come to it.

    Args:
        settings: central's settings file.
        package_id: what is to be withdrawn.
        is_gone: of a package: whether it was withdrawn, or is to be together with this one.
    """
    try:
        database = Database(load_settings(settings).database_url)
        database.probe()
        require_current(database)
        with database.read() as session:
            champions = session.exec(select(Champion.product).where(Champion.package_id == package_id)).all()
            assigned = session.exec(select(Station.address, Station.assigned).order_by(Station.address)).all()
            back = [_in_vain(row, way, names) for row, way, names in leads_back_to(session, package_id, is_gone)]
    except CentralError as error:
        return [f"warning: whether it is in use is not known: {error}"]
    at = [address for address, packages in assigned if package_id in packages.values()]
    said = [f"warning: it is the champion of {product}; roll out another package" for product in champions]
    said += [f"warning: it stays assigned to {some_of(at)}, which judge on with it"] if at else []
    return said + back


def _in_vain(row: RolloutRow, way: WayBack, names: Sequence[str]) -> str:
    """What becomes of stations of an open rollout that would be sent back to the package."""
    begins = f"warning: rollout {row.id} of {row.product} is open; if it is taken back, {some_of(names)}"
    if not way.why:
        return f"{begins} may stay on it: the rollout's package does not judge there yet"
    if way.package_id is not None:
        return f"{begins} cannot go back to it and will be given package {way.package_id} instead"
    return f"{begins} cannot go back to it, and no package will judge {row.product} there until another is rolled out"
