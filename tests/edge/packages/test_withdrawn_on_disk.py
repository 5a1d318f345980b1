# SPDX-License-Identifier: Apache-2.0
"""A package that was withdrawn is not taken from the station's own disk either, as long as central can be asked."""

import errno
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.ngclient import Updater

from contracts.commands import ChallengerAssignment
from contracts.vocabulary import PackageState, RefusalReason
from tests.edge.packages.conftest import Bench
from tests.fakes.packages import BuiltPackage


def _second_judges(bench: Bench) -> tuple[BuiltPackage, BuiltPackage]:
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    for number, package in enumerate((first, second), 1):
        bench.assign(number, {"ring": package.package_id})
        bench.wait_active(package)
    return first, second


def test_withdrawn_package_is_refused_although_it_lies_on_the_disk(bench: Bench) -> None:
    first, second = _second_judges(bench)
    bench.server.withdraw(first)
    bench.assign(3, {"ring": first.package_id})
    assert "no signed metadata" in bench.wait_refused(RefusalReason.SIGNATURE).detail
    assert [loaded.package_id for loaded in bench.slots.snapshot()] == [second.package_id]


def test_withdrawn_challenger_is_not_made_active_out_of_the_shadow(bench: Bench) -> None:
    first, second = bench.built("first"), bench.built("second", scale=2.0)
    bench.start()
    order = ChallengerAssignment(package_id=second.package_id)
    bench.assign(1, {"ring": first.package_id}, challengers={"ring": order})
    bench.wait_state(second, PackageState.SHADOW)
    bench.server.withdraw(second)
    bench.assign(2, {"ring": second.package_id})
    bench.wait_refused(RefusalReason.SIGNATURE)
    assert [loaded.package_id for loaded in bench.slots.snapshot()] == [first.package_id]


def _away(bench: Bench) -> None:
    bench.server.is_reachable = False


def _expired(bench: Bench) -> None:
    bench.server.write(timestamp_expires=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1))


@pytest.mark.parametrize("cannot_tell", [_away, _expired])
def test_where_nobody_can_tell_the_copy_on_the_disk_judges(bench: Bench, cannot_tell: Callable[[Bench], None]) -> None:
    first, _ = _second_judges(bench)
    cannot_tell(bench)
    bench.assign(3, {"ring": first.package_id})
    bench.wait_active(first)


def test_disk_that_takes_no_metadata_holds_up_no_going_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = _second_judges(bench)

    def full(_updater: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(Path("timestamp.json")))

    monkeypatch.setattr(Updater, "refresh", full)
    bench.assign(3, {"ring": first.package_id})
    bench.wait_active(first)
