# SPDX-License-Identifier: Apache-2.0
"""A way back waits for no download of another product, whatever their names."""

import time
from typing import Any

import pytest

from edge_agent.packages.fetch import Interrupted, TufPackageFetcher
from tests.edge.packages.conftest import Bench


def test_way_back_goes_before_the_download_of_another_product(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = bench.built("good"), bench.built("bad", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": good.package_id})
    bench.wait_active(good)
    bench.assign(2, {"ring": bad.package_id})
    bench.wait_active(bad)
    bench.stop()
    other = bench.built("other", "disc")
    real, is_asked = TufPackageFetcher.fetch, []

    def never_done(self: TufPackageFetcher, package_id: str, product: str, *rest: Any, **more: Any) -> Any:
        is_asked.append(product)
        *_, is_called_off = rest
        while product == "disc":
            if is_called_off():
                raise Interrupted(package_id)
            time.sleep(0.05)
        return real(self, package_id, product, *rest, **more)

    monkeypatch.setattr(TufPackageFetcher, "fetch", never_done)
    bench.start()
    bench.wait_active(bad)
    # Another product's rollout brings its package; "disc" comes before "ring" in every assignment.
    bench.assign(3, {"disc": other.package_id, "ring": bad.package_id})
    give_up_s = time.monotonic() + 60
    while "disc" not in is_asked:
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    bench.assign(4, {"disc": other.package_id, "ring": good.package_id}, urgent=("ring",))
    bench.wait_active(good)
