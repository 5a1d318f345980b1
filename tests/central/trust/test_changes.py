# SPDX-License-Identifier: Apache-2.0
"""Changes of keys, cut short at every place, against a station's own TUF client."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from central.key_plans import Holder, KeyPlans
from central.trust import changes, repository, state
from central.trust.changes import KeyChangeError
from central.trust.enrolment import initialise_trust, open_repository
from central.trust.keys import KeyName, LiveSigner, load_root_key, load_signer
from central.trust.repository import PackageRepository
from central.trust.roots import RootError, assigner_of, missing_signatures, root_keys
from contracts.trust import ASSIGNMENT_FIELD
from edge_agent.errors import TrustError
from edge_agent.packages.roots import next_root
from tests.central.trust.packages import make_package

NOW = datetime.now(UTC)
PASSWORD = "correct horse battery"
EXCHANGED = [KeyName.PACKAGING, KeyName.SNAPSHOT, KeyName.TIMESTAMP, KeyName.ASSIGNMENT, "product:ring"]


class FromDisk(FetcherInterface):
    """A station's client that reads the repository's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix("disk:/")
        if not path.is_file():
            raise DownloadHTTPError(url, 404)
        return iter([path.read_bytes()])


class KilledError(BaseException):
    """As by kill -9: no handler of ours may stop it."""


class Plant:
    """A trust folder with one package of one product, and the station that was enrolled at its beginning."""

    def __init__(self, folder: Path) -> None:
        self.trust = folder / "trust"
        initialise_trust(self.trust, NOW)
        self.repository = open_repository(self.trust)
        self.package_id = make_package(folder / "package")
        self.repository.publish(folder / "package", self.package_id, NOW)
        self._root = (self.repository.metadata_dir / "1.root.json").read_bytes()
        self._station = folder / "station"
        self._station.mkdir()
        self.sticks = {name: folder / name for name in ("anna", "bo", "cem", "dora")}
        for stick in self.sticks.values():
            stick.mkdir()

    @property
    def plans(self) -> KeyPlans:
        return KeyPlans(self.trust, NOW)

    def station_sees(self) -> None:
        """The station asks for the package, from where it stands; anything wrong is raised."""
        client = Updater(
            str(self._station),
            "disk:/",
            target_base_url="disk:/",
            fetcher=FromDisk(self.repository.metadata_dir),
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=self._root,
        )
        assert client.get_targetinfo(f"ring/{self.package_id}/manifest.json") is not None

    def holder(self, name: str) -> Holder:
        return Holder(name, self.sticks[name])

    def ceremony(self, *names: str, threshold: int = 2) -> None:
        self.plans.ceremony([self.holder(name) for name in names], threshold, "a test", lambda _: PASSWORD)

    def sign(self, name: str) -> bool:
        plans = self.plans
        plans.changes.sign(load_root_key(self.holder(name).path, PASSWORD))
        return plans.changes.finish(NOW)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


@contextmanager
def killed_at_write(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[int]]:
    """The process dies before its n-th write to the disk; yields the count of writes."""
    count = [0]

    def watched(real: object) -> object:
        def write(*arguments: object, **more: object) -> object:
            count[0] += 1
            if count[0] == number:
                raise KilledError
            return real(*arguments, **more)  # type: ignore[operator]

        return write

    with monkeypatch.context() as patch:
        for module in (changes, state, repository):
            patch.setattr(module, "write_whole", watched(module.write_whole))
        for name in ("_shred", "write_enrolment"):
            patch.setattr(changes, name, watched(getattr(changes, name)))
        yield count


@pytest.mark.parametrize("what", EXCHANGED)
def test_exchanged_key_signs_and_the_old_one_is_gone(plant: Plant, what: str) -> None:
    name = what.replace("product:", "product-")
    before = load_signer(plant.trust / "keys", KeyName.PACKAGING if what == "product:ring" else name).public_key.keyid
    plant.station_sees()
    plant.plans.exchange(what, "a test")
    assert plant.plans.changes.finish(NOW)
    assert load_signer(plant.trust / "keys", name).public_key.keyid != before
    assert not (plant.trust / "pending").exists()
    plant.station_sees()
    assert plant.repository.refresh(NOW.replace(year=NOW.year + 1))
    assert what == "product:ring" or before not in json.dumps(plant.repository.root().signed.to_dict())


@pytest.mark.parametrize("what", EXCHANGED)
def test_exchange_cut_short_anywhere_never_shuts_the_station_out_and_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    origin = Plant(tmp_path / "origin")
    with killed_at_write(monkeypatch, 0) as count:
        plant = _copy(origin, tmp_path / "whole")
        plant.plans.exchange(what, "a test")
        begun = count[0]
        plant.plans.changes.finish(NOW)
    assert count[0] > begun + 3
    for number in range(1, count[0] + 1):
        plant = _copy(origin, tmp_path / f"at-{number}")
        plant.station_sees()
        with killed_at_write(monkeypatch, number), pytest.raises(KilledError):
            _exchange(plant, what)
        plant.station_sees()
        # A running central signs meanwhile, before anybody noticed.
        plant.repository.resign({Targets.type}, NOW)
        plant.station_sees()
        plans = plant.plans
        if plans.changes.pending() is None:
            plans.exchange(what, "again")
        assert plans.changes.recover(NOW) or plans.changes.finish(NOW)
        assert plans.changes.pending() is None
        plant.station_sees()
        assert (
            assigner_of(plant.repository.root().signed)
            == LiveSigner(plant.trust / "keys", KeyName.ASSIGNMENT).public_key.keyid
        )


def _exchange(plant: Plant, what: str) -> None:
    plans = plant.plans
    plans.exchange(what, "a test")
    plans.changes.finish(NOW)


def _copy(origin: Plant, folder: Path) -> Plant:
    shutil.copytree(origin.trust.parent, folder)
    plant = Plant.__new__(Plant)
    plant.__dict__.update(origin.__dict__)
    plant.trust = folder / "trust"
    plant.repository = open_repository(plant.trust)
    plant._station = folder / "station"
    return plant


def test_ceremony_takes_the_root_key_from_the_machine_and_the_station_follows(plant: Plant) -> None:
    plant.station_sees()
    plant.ceremony("anna", "bo", "cem")
    assert plant.plans.changes.finish(NOW)
    assert not (plant.trust / "keys" / "root.pem").exists()
    root = plant.repository.root().signed
    assert (len(root_keys(root)), root.roles["root"].threshold) == (3, 2)
    assert b"ENCRYPTED" in plant.holder("anna").path.read_bytes()
    plant.station_sees()
    # It does not come back by another `init`.
    initialise_trust(plant.trust, NOW)
    assert not (plant.trust / "keys" / "root.pem").exists()
    enrolled = Metadata[Root].from_file(str(plant.trust / "enrolment" / "root.json"))
    assert enrolled.signed.version == 2


def test_fewer_holders_than_the_threshold_exchange_nothing(plant: Plant) -> None:
    plant.ceremony("anna", "bo", "cem")
    plant.plans.changes.finish(NOW)
    plant.plans.exchange(KeyName.SNAPSHOT, "a test")
    assert not plant.plans.changes.finish(NOW)
    assert not plant.sign("anna")
    # Nor the same holder twice.
    assert not plant.sign("anna")
    assert plant.repository.root().signed.version == 2
    plant.station_sees()
    assert plant.sign("cem")
    assert plant.repository.root().signed.version == 3
    plant.station_sees()


def test_root_of_too_few_holders_is_refused_by_the_station(plant: Plant) -> None:
    plant.ceremony("anna", "bo", "cem")
    plant.plans.changes.finish(NOW)
    plant.plans.exchange(KeyName.ASSIGNMENT, "a test")
    plant.sign("anna")
    coming = plant.plans.changes.root()
    assert coming is not None
    assert missing_signatures(plant.repository.root().signed, coming) == {"present": 1, "coming": 1}
    with pytest.raises(TrustError):
        next_root(plant.repository.root(), coming.to_bytes())


def test_lost_root_key_is_replaced_by_the_others(plant: Plant) -> None:
    plant.ceremony("anna", "bo", "cem")
    plant.plans.changes.finish(NOW)
    plant.plans.revoke_holder("bo", plant.holder("dora"), "lost on a train", lambda _: PASSWORD)
    assert not plant.sign("anna")
    assert plant.sign("cem")
    plant.plans.exchange(KeyName.TIMESTAMP, "a test")
    with pytest.raises(KeyChangeError, match="no root key"):
        plant.sign("bo")
    assert not plant.sign("dora")
    assert plant.sign("anna")
    plant.station_sees()


def test_holder_without_successor_needs_enough_others(plant: Plant) -> None:
    plant.ceremony("anna", "bo", threshold=2)
    plant.plans.changes.finish(NOW)
    with pytest.raises(KeyChangeError, match="--replace-with"):
        plant.plans.revoke_holder("bo", None, "lost", lambda _: PASSWORD)
    assert plant.plans.changes.pending() is None


def test_signature_given_on_another_machine_counts(plant: Plant) -> None:
    plant.ceremony("anna", "bo")
    plant.plans.changes.finish(NOW)
    plant.plans.exchange(KeyName.PACKAGING, "a test")
    plans = plant.plans
    carried = plans.changes.root()
    assert carried is not None
    for name in ("anna", "bo"):
        changes.sign_root(carried, None, load_root_key(plant.holder(name).path, PASSWORD))
    assert plans.changes.take_over(carried) == 2
    assert plans.changes.finish(NOW)
    plant.station_sees()


def test_carried_copy_of_another_root_or_with_a_false_signature_is_refused(plant: Plant) -> None:
    plant.ceremony("anna", "bo")
    plant.plans.changes.finish(NOW)
    plant.plans.exchange(KeyName.PACKAGING, "a test")
    plans = plant.plans
    with pytest.raises(RootError, match="not the pending one"):
        plans.changes.take_over(plant.repository.root())
    carried = plans.changes.root()
    assert carried is not None
    changes.sign_root(carried, None, load_root_key(plant.holder("anna").path, PASSWORD))
    signature = next(iter(carried.signatures.values()))
    signature.signature = "00" * 64
    with pytest.raises(RootError, match="does not hold"):
        plans.changes.take_over(carried)


def test_one_change_at_a_time_and_undone_before_it_has_an_effect(plant: Plant) -> None:
    plant.ceremony("anna", "bo")
    plant.plans.changes.finish(NOW)
    before = {path.name: path.read_bytes() for path in (plant.trust / "keys").iterdir()}
    plant.plans.exchange(KeyName.PACKAGING, "a test")
    with pytest.raises(KeyChangeError, match="under way"):
        plant.plans.exchange(KeyName.SNAPSHOT, "another")
    plant.plans.changes.undo()
    assert {path.name: path.read_bytes() for path in (plant.trust / "keys").iterdir()} == before
    with pytest.raises(KeyChangeError, match="nothing to undo"):
        plant.plans.changes.undo()
    plant.station_sees()


def test_change_that_stations_may_know_of_cannot_be_undone(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.plans.exchange(KeyName.PACKAGING, "a test")
    with monkeypatch.context() as patch:
        patch.setattr(PackageRepository, "resign", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            plant.plans.changes.finish(NOW)
    with pytest.raises(KeyChangeError, match="run `keys sign` to finish it"):
        plant.plans.changes.undo()
    assert plant.plans.changes.recover(NOW)


_DAMAGE = [
    ("begun_at", 5, "begun_at: expected a text, got 5"),
    ("installs", "packaging", "installs: expected a list of texts, got 'packaging'"),
    ("removes", [7], "removes: expected a list of texts, got"),
    ("installs", ["../../etc/x"], "expected the name of a key, got '../../etc/x'"),
    ("withdraws", ["ab"], "withdraws: expected package ids, got 'ab'"),
    ("more", "x", "unexpected keyword argument 'more'"),
]


@pytest.mark.parametrize(("field", "value", "words"), _DAMAGE)
def test_damaged_plan_is_refused_and_forgotten_unless_it_is_applied(
    plant: Plant, field: str, value: object, words: str
) -> None:
    changes = plant.plans.changes
    plant.plans.exchange(KeyName.PACKAGING, "a test")
    path = plant.trust / "pending" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    (path.parent / "applying").touch()
    with pytest.raises(KeyChangeError, match=r"restore it from a backup$") as refused:
        changes.finish(NOW)
    assert words in str(refused.value)
    with pytest.raises(KeyChangeError, match="cannot be read"):
        changes.undo()
    (path.parent / "applying").unlink()
    assert changes.undo() is None
    assert not path.parent.exists()


def test_ceremony_that_fails_leaves_no_key_on_any_stick(plant: Plant) -> None:
    asked: list[str] = []

    def short(what: str) -> str:
        asked.append(what)
        return PASSWORD if len(asked) == 1 else "short"

    with pytest.raises(Exception, match="at least 12 characters"):
        plant.plans.ceremony([plant.holder("anna"), plant.holder("bo")], 2, "a test", short)
    assert [path for stick in plant.sticks.values() for path in stick.iterdir()] == []
    assert plant.plans.changes.pending() is None


def test_repository_of_before_is_upgraded_once(tmp_path: Path) -> None:
    """As an earlier version left it: all packages named by the top targets, and a root without the assignment key."""
    plant = Plant(tmp_path)
    here, state_then = plant.repository, plant.repository.state()
    state_then.products.clear()
    state_then.targets.signed.delegations = None
    state_then.snapshot.signed.meta.pop("product-ring.json")
    here._write(state_then, {Targets.type}, NOW)
    root = here.root()
    del root.signed.unrecognized_fields[ASSIGNMENT_FIELD]
    here.write_root(root, [load_signer(plant.trust / "keys", KeyName.ROOT)])
    plant._root = root.to_bytes()
    with pytest.raises(AssertionError):
        plant.station_sees()
    assert len(here.upgrade(NOW)) == 2
    assert here.upgrade(NOW) == []
    assert assigner_of(here.root().signed) is not None
    plant.station_sees()
    assert here.has(plant.package_id)


def test_running_central_seals_by_the_key_that_is_there_now(plant: Plant) -> None:
    live = LiveSigner(plant.trust / "keys", KeyName.ASSIGNMENT)
    before = live.public_key.keyid
    plant.plans.exchange(KeyName.ASSIGNMENT, "a test")
    plant.plans.changes.finish(NOW)
    assert live.public_key.keyid != before
    assert live.public_key.keyid == assigner_of(plant.repository.root().signed)
