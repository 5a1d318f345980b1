# SPDX-License-Identifier: Apache-2.0
"""Which signed metadata may speak for a product: the role that is delegated to that product, and no other.

Reads what the TUF client has just verified and kept; downloads by that client alone. Called by `packages.fetch`.
"""

from pathlib import Path
from typing import Final

from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import Updater

from contracts.trust import product_role, target_path
from contracts.vocabulary import RefusalReason
from edge_agent.packages.trust import PackageRefused

_SIGNATURE: Final = RefusalReason.SIGNATURE


def signed_target(updater: Updater, metadata_dir: Path, path: str, product: str) -> TargetFile | None:
    """The entry of one file (`{package_id}/{name}`) in the metadata of its product's role; None: it names no such file.

    A repository of before there were delegations delegates nothing; there the top targets speak for all products.

    Raises:
        PackageRefused: SIGNATURE: no role is delegated to this product, or another role answers in its place.
    """
    top = Metadata[Targets].from_file(str(metadata_dir / f"{Targets.type}.json")).signed
    if top.delegations is None or top.delegations.roles is None:
        found: TargetFile | None = updater.get_targetinfo(path)
        return found
    role = product_role(product)
    if role not in top.delegations.roles:
        raise PackageRefused(_SIGNATURE, f"package file {path}: no role is delegated to product {product}")
    package_id, _, name = path.partition("/")
    full = target_path(product, package_id, name)
    found = updater.get_targetinfo(full)
    if found is None:
        _refuse_of_another(top, path, product)
        return None
    kept = metadata_dir / f"{role}.json"
    listed = Metadata[Targets].from_file(str(kept)).signed.targets if kept.is_file() else {}
    if listed.get(full) != found:
        # The walk ends at the first role that names a path; another product's key must not get in between.
        msg = f"package file {path}: expected it from the role of product {product}, got it from another one"
        raise PackageRefused(_SIGNATURE, msg)
    return found


def _refuse_of_another(top: Targets, path: str, product: str) -> None:
    """Say whose package it is when the top targets know: a better word than a signature that is missing."""
    listed = top.targets.get(path)
    published_for = (listed.custom or {}).get("product") if listed is not None else None
    if published_for is not None and published_for != product:
        msg = f"package file {path}: expected product {product}, published for {published_for}"
        raise PackageRefused(RefusalReason.WRONG_PRODUCT, msg)
