# SPDX-License-Identifier: Apache-2.0
"""Asks the line's controller once what is made, as the station would, and says what that stands for.

Reads only: the place of the confirmation is read, not written. Used by `doctor`.
"""

from typing import Final

from edge_agent.changeover_settings import ChangeoverSettings
from edge_agent.commissioning.findings import Finding, fail, ok, warn
from edge_agent.controller.link import ControllerLink
from edge_agent.controller.settings import MODBUS, make_link
from edge_agent.errors import EdgeError

_NAME: Final = "changeover"
_CONFIRMATION: Final = "changeover confirmation"


def check_changeover(changeover: ChangeoverSettings | None) -> list[Finding]:
    """Reach the controller, and hold what it says against the settings."""
    if changeover is None:
        return []
    link = make_link(changeover.controller)
    try:
        link.open()
        said = _read(link, changeover, changeover.address)
    except EdgeError as error:
        link.close()
        remedy = error.remedy or "check the controller, its network and changeover.url"
        return [fail(_NAME, f"{error.message}; until it answers the last product stays", remedy)]
    findings = [_meaning(changeover, said)]
    if changeover.confirm_address is not None:
        findings.append(_confirmation(link, changeover, changeover.confirm_address))
    link.close()
    return findings


def _read(link: ControllerLink, changeover: ChangeoverSettings, address: str) -> str:
    if changeover.controller.kind == MODBUS:
        return str(link.read_number(address))
    return link.read_text(address)


def _meaning(changeover: ChangeoverSettings, said: str) -> Finding:
    where = f"{changeover.controller.url}, address {changeover.address}"
    product = changeover.product_of(said)
    if product is not None:
        return ok(_NAME, f"{where} says {said}: {product}" if said != product else f"{where} says {product}")
    found = f"{where} says {said or 'nothing'}, which is no product ({changeover.known()}): every part is held"
    return warn(_NAME, found, "let the controller name a product, or add this one to changeover.products")


def _confirmation(link: ControllerLink, changeover: ChangeoverSettings, address: str) -> Finding:
    try:
        said = _read(link, changeover, address)
    except EdgeError as error:
        remedy = error.remedy or "correct changeover.confirm_address"
        return fail(_CONFIRMATION, f"{error.message}; the line would wait for ever", remedy)
    return ok(
        _CONFIRMATION,
        f"address {address} can be read, it says {said or 'nothing'}; whether it can be written "
        "shows when the station runs",
    )
