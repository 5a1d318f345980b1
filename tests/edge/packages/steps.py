# SPDX-License-Identifier: Apache-2.0
"""Steps that several stories of the installer share."""

from contracts.vocabulary import RefusalReason
from tests.edge.packages.conftest import Bench
from tests.fakes.packages import golden_images

REASON = RefusalReason


def score(bench: Bench, product: str = "ring") -> float:
    loaded = bench.slots.active(product)
    assert loaded is not None
    return loaded.session.run(golden_images()[0]).score


def two_packages(bench: Bench) -> tuple[str, str]:
    """A first package that judges and a second one that is published; the station is running."""
    first, second = bench.built("first", scale=1.0), bench.built("second", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": first.package_id})
    bench.wait_active(first)
    return first.package_id, second.package_id
