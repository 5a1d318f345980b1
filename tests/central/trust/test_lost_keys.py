# SPDX-License-Identifier: Apache-2.0
"""A change of keys whose files were lost, as in a backup without keys, says what is gone and has a way out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from central.__main__ import main
from central.services.trainings.learning_services import MetadataRefresh
from central.trust import changes
from central.trust.changes import KeyChanges, LostKeyError
from central.trust.keys import KeyName, load_signer, write_whole
from tests.central.trust.test_changes import EXCHANGED, NOW, KilledError, Plant


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def _pending(plant: Plant, what: str) -> Path:
    return plant.trust / "pending" / "keys" / f"{what.replace(':', '-')}.pem"


def _files(plant: Plant) -> dict[str, bytes]:
    return {
        str(path.relative_to(plant.trust)): path.read_bytes()
        for path in plant.trust.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


@contextmanager
def _killed_at_enrolment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process dies after the new root is written, when a key is about to be installed."""

    def write(path: Path, content: bytes, mode: int = 0o644) -> None:
        if path.parent.parent.name == "trust" and path.suffix == ".pem":
            raise KilledError
        write_whole(path, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(changes, "write_whole", write)
        with pytest.raises(KilledError):
            yield


_LOSSES = [(what, damage) for what in EXCHANGED for damage in ("missing", "no key", "another")]


# No root names the key of a product, so another one cannot be told there.
@pytest.mark.parametrize(("what", "damage"), [each for each in _LOSSES if each != ("product:ring", "another")])
def test_change_without_its_key_changes_nothing_and_is_undone(plant: Plant, what: str, damage: str) -> None:
    plant.plans.exchange(what, "a test")
    path = _pending(plant, what)
    if damage == "missing":
        path.unlink()
    elif damage == "no key":
        path.write_text("x")
    else:
        path.write_bytes((plant.trust / "keys" / "root.pem").read_bytes())
    before = _files(plant)
    with pytest.raises(LostKeyError, match=r"its new key .*made after .*`keys undo`") as lost:
        plant.plans.changes.finish(NOW)
    assert str(path) in str(lost.value)
    assert "\n" not in str(lost.value)
    assert _files(plant) == before
    assert not plant.plans.changes.recover(NOW)
    plant.plans.changes.undo()
    plant.plans.exchange(what, "again")
    assert plant.plans.changes.finish(NOW)
    plant.station_sees()


def test_change_without_its_root_changes_nothing(plant: Plant) -> None:
    plant.plans.exchange(KeyName.TIMESTAMP, "a test")
    (plant.trust / "pending" / "root.json").unlink()
    before = _files(plant)
    with pytest.raises(LostKeyError, match=r"its new root .*root.json is missing"):
        plant.plans.changes.finish(NOW)
    assert _files(plant) == before


@pytest.mark.parametrize("what", EXCHANGED)
def test_key_lost_when_stations_may_know_of_it_is_exchanged_once_more(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    plant.plans.exchange(what, "a test")
    with _killed_at_enrolment(monkeypatch):
        plant.plans.changes.finish(NOW)
    kept = _pending(plant, what).read_bytes()
    _pending(plant, what).unlink()
    for ask in (plant.plans.changes.finish, plant.plans.changes.recover):
        with pytest.raises(LostKeyError, match=f"is half done: .*`keys undo` and then `keys rotate {what}` at once"):
            ask(NOW)
    # A backup brings it back …
    _pending(plant, what).write_bytes(kept)
    _pending(plant, what).chmod(0o600)
    assert KeyChanges(plant.trust).pending() is not None
    # … or it is lost for good.
    _pending(plant, what).unlink()
    plant.plans.changes.undo()
    plant.plans.exchange(what, "again")
    assert plant.plans.changes.finish(NOW)
    plant.station_sees()
    name = what.replace("product:", "product-")
    assert load_signer(plant.trust / "keys", name).private_bytes != kept


def test_key_that_was_installed_before_it_was_lost_is_not_missed(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.plans.exchange(KeyName.TIMESTAMP, "a test")
    with monkeypatch.context() as patch:
        patch.setattr(KeyChanges, "_forget", lambda _: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            plant.plans.changes.finish(NOW)
    _pending(plant, "timestamp").unlink()
    assert plant.plans.changes.recover(NOW)
    plant.station_sees()


def test_central_goes_on_and_says_it_in_one_line(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plant.plans.exchange(KeyName.TIMESTAMP, "a test")
    with _killed_at_enrolment(monkeypatch):
        plant.plans.changes.finish(NOW)
    _pending(plant, "timestamp").unlink()
    service = MetadataRefresh(plant.repository, KeyChanges(plant.trust))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            service.tick(NOW)
    (line,) = [each.getMessage() for each in caplog.records]
    assert "'rotate timestamp' is half done" in line
    assert "Traceback" not in caplog.text


def test_every_command_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "plant"
    where = ["--data", str(data)]
    assert main(["init", *where, "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    with _killed_at_enrolment(monkeypatch):
        main(["keys", "rotate", "timestamp", "--why", "x", "--yes", *where])
    (data / "trust" / "pending" / "keys" / "timestamp.pem").unlink()
    for words in (["show"], ["sign"], ["rotate", "snapshot", "--why", "x", "--yes"]):
        capsys.readouterr()
        assert main(["keys", *words, *where]) == 2
        told = capsys.readouterr().err
        assert told.startswith("sightline-central: 'rotate timestamp' is half done: its new key ")
        assert told.count("\n") == 1
    assert main(["keys", "undo", "--yes", *where]) == 0
    assert "`keys rotate timestamp` at once" in capsys.readouterr().out
    assert main(["keys", "show", *where]) == 0
    assert "ANOTHER one on this machine: run `keys rotate timestamp`" in capsys.readouterr().out
    assert main(["keys", "rotate", "timestamp", "--why", "again", "--yes", *where]) == 0
    assert main(["keys", "show", *where]) == 0
    assert "ANOTHER" not in capsys.readouterr().out
