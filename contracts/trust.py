# SPDX-License-Identifier: Apache-2.0
"""Names that central's package repository and the stations must spell alike. No rule, no I/O.

Used by `central/trust` and `edge_agent/packages`; see ADR 0023.
"""

from typing import Final

# Field of TUF root metadata: {"threshold": 1, "keys": {keyid: public key}}. Signed with the root by its holders, so
# that who may assign changes along the same chain as every other key.
ASSIGNMENT_FIELD: Final = "x-sightline-assignment"
# Field of a key in root metadata: who holds its private half.
HOLDER_FIELD: Final = "x-sightline-holder"
_ROLE_PREFIX: Final = "product-"


def product_role(product: str) -> str:
    """The delegated targets role that alone speaks for a product's packages."""
    return f"{_ROLE_PREFIX}{product}"


def product_of(role: str) -> str | None:
    """The product of a delegated role; None: it is no product's."""
    return role.removeprefix(_ROLE_PREFIX) if role.startswith(_ROLE_PREFIX) else None


def target_path(product: str, package_id: str, name: str) -> str:
    """What a product's role calls a file of a package. The files lie at `{package_id}/{name}`."""
    return f"{product}/{package_id}/{name}"


def product_paths(product: str) -> list[str]:
    """The only target paths that are delegated to a product's role."""
    return [target_path(product, "*", "*")]
