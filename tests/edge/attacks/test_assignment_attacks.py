# SPDX-License-Identifier: Apache-2.0
"""Attacks on what a station is told to run, by who holds the broker and, in some, a key that was stolen."""

import json
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from central.trust.keys import KeyName
from contracts.vocabulary import RefusalReason
from tests.edge.attacks.conftest import OTHER_STATION, Target
from tests.edge.attacks.evil_server import EvilServer
from tests.edge.packages.conftest import STATION
from tests.fakes.packages import BuiltPackage

REASON = RefusalReason


def two_assignments(target: Target, first: BuiltPackage) -> tuple[BuiltPackage, bytes]:
    """A second package came into force; the first assignment as it was heard on the wire."""
    old = target.broker.retained[target.topic()]
    second = target.built("second")
    target.assign(2, {"ring": second.package_id})
    target.wait_active(second)
    assert first.package_id == target.store.slots("ring").previous
    return second, old


def test_replayed_assignment_is_ignored(target: Target, champion: BuiltPackage) -> None:
    second, old = two_assignments(target, champion)
    target.deliver(old)
    target.assert_ignored(second, REASON.ROLLBACK)


@pytest.mark.parametrize("lost", ["nothing", "trust/tuf", "trust/roots", "trust/assignment.json", "trust", "packages"])
def test_assignment_replayed_over_a_restart_and_a_wiped_cache_is_ignored(
    target: Target, champion: BuiltPackage, lost: str
) -> None:
    second, old = two_assignments(target, champion)
    target.stop()
    if lost != "nothing":
        path = target.disk / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    target.broker.retained.clear()
    target.statuses.clear()
    target.start()
    target.wait(lambda: target.slots.active("ring") is not None)
    target.deliver(old)
    target.wait_ignored(REASON.ROLLBACK)
    target.assert_unharmed(second)


def test_older_assignment_put_back_on_the_disk_does_not_count(target: Target, champion: BuiltPackage) -> None:
    kept = (target.disk / "trust" / "assignment.json").read_bytes()
    second, old = two_assignments(target, champion)
    target.stop()
    (target.disk / "trust" / "assignment.json").write_bytes(kept)
    target.broker.retained.clear()
    target.statuses.clear()
    target.start()
    target.wait(lambda: target.slots.active("ring") is not None)
    target.deliver(old)
    target.wait_ignored(REASON.ROLLBACK)
    target.assert_unharmed(second)


def test_assignment_for_another_station_is_ignored(target: Target, champion: BuiltPackage) -> None:
    package = target.built("next")
    target.deliver(target.server.seal(OTHER_STATION, 2, {"ring": package.package_id}))
    target.assert_ignored(champion, REASON.WRONG_STATION)


def test_assignment_kept_back_until_it_expired_is_refused(target: Target, champion: BuiltPackage) -> None:
    package = target.built("next")
    target.assign(2, {"ring": package.package_id}, now=datetime.now(UTC) - timedelta(days=3))
    target.wait(lambda: target.status().refused is REASON.EXPIRED)
    assert (target.status().assignment_number, "expired" in target.status().detail) == (2, True)
    target.assert_unharmed(champion)


def test_freeze_of_assignments_is_told_once_the_one_in_force_has_run_out(target: Target) -> None:
    """Who holds the broker lets nothing newer through. The station judges on and says that it hears no news."""
    package = target.built("champion", scale=1.0)
    target.start()
    target.assign(1, {"ring": package.package_id}, lifetime=timedelta(seconds=3))
    target.wait_active(package)
    target.wait(lambda: [fault.code for fault in target.installer.faults()] == ["assignment-lapsed"])
    assert "no newer one came" in target.installer.faults()[0].message
    target.assert_unharmed(package)
    target.assign(2, {"ring": package.package_id})
    target.wait(lambda: target.status().assignment_number == 2)
    assert target.installer.faults() == []


def test_second_assignment_under_a_used_number_is_ignored(target: Target, champion: BuiltPackage) -> None:
    package = target.built("next")
    target.assign(1, {"ring": package.package_id})
    target.assert_ignored(champion, REASON.ROLLBACK)


@pytest.mark.parametrize("name", [KeyName.PACKAGING, KeyName.ROOT, None])
def test_assignment_signed_by_a_key_that_may_not_assign_is_ignored(
    target: Target, evil: EvilServer, champion: BuiltPackage, name: KeyName | None
) -> None:
    package = target.built("next")
    signer = CryptoSigner.generate_ed25519() if name is None else evil.key(name)
    target.deliver(evil.seal(STATION, 2, {"ring": package.package_id}, signer=signer))
    target.assert_ignored(champion, REASON.SIGNATURE)


def test_altered_assignment_is_ignored(target: Target, evil: EvilServer, champion: BuiltPackage) -> None:
    package = target.built("next")
    mine = json.loads(evil.seal(STATION, 2, {"ring": champion.package_id}))
    other = json.loads(evil.seal(STATION, 2, {"ring": package.package_id}))
    target.deliver(json.dumps({**mine, "payload": other["payload"]}).encode())
    target.assert_ignored(champion, REASON.SIGNATURE)


def test_assignment_signed_by_a_revoked_key_is_ignored(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    stolen, package = evil.key(KeyName.ASSIGNMENT), target.built("next")
    evil.exchange(KeyName.ASSIGNMENT)
    target.wait(lambda: target.keys.version == 2)
    target.deliver(evil.seal(STATION, 2, {"ring": package.package_id}, signer=stolen))
    target.assert_ignored(champion, REASON.SIGNATURE)


def test_revoked_assignment_key_stays_revoked_over_a_restart_without_central(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    stolen, package = evil.key(KeyName.ASSIGNMENT), target.built("next")
    evil.exchange(KeyName.ASSIGNMENT)
    target.wait(lambda: target.keys.version == 2)
    target.stop()
    evil.replaced["metadata/2.root.json"] = b"gone"
    target.start()
    target.wait(lambda: target.slots.active("ring") is not None)
    target.deliver(evil.seal(STATION, 2, {"ring": package.package_id}, signer=stolen))
    target.wait_ignored(REASON.SIGNATURE)
    target.assert_unharmed(champion)


def test_assignment_under_an_exchanged_key_is_followed_as_soon_as_the_root_is(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    """The other side: the envelope comes before the root that names its key, and is not lost."""
    target.roots._period_s = 10**6
    # A look that was due under the old period may still come; after it nothing but an envelope brings one.
    time.sleep(1.0)
    evil.exchange(KeyName.ASSIGNMENT)
    package = target.built("next")
    target.assign(2, {"ring": package.package_id})
    target.wait_active(package)
    assert (target.keys.version, champion.package_id) == (2, target.store.slots("ring").previous)


def test_flood_of_foreign_envelopes_does_not_make_the_station_flood_central(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    target.roots._period_s, target.roots._soonest_s = 10**6, 1.0
    begun, looks, counters = time.monotonic(), target.roots.looks, target.installer.counters
    for number in range(1, 31):
        foreign = evil.seal(STATION, number, {"ring": "0" * 64}, signer=CryptoSigner.generate_ed25519())
        target.deliver(foreign)
        # One after the other, with time to look in between if the station wanted to.
        target.wait(lambda number=number: counters.assignments_ignored == number)  # type: ignore[misc]
        time.sleep(0.05)
    # At least a second between two looks, however long this took.
    assert target.roots.looks - looks <= 2 + (time.monotonic() - begun)
    target.assert_unharmed(champion)
