# SPDX-License-Identifier: Apache-2.0
"""A dataset version as a folder: the trainer's own reader gets back every label, and `clean` runs on it."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from sqlmodel import select

from central.__main__ import main
from central.clock import SystemClock
from central.dataset_export import labels_csv
from central.domain.datasets import LabelRecord
from central.initial import Wanted, initialise
from central.services.trainings.datasets import keep_version
from central.settings import LearningSettings, load_settings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.dataset_tables import DatasetVersion
from central.store.learning_tables import Training
from central.store.repositories import audits
from central.store.tables import LabelledPicture
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PartUse
from models.data.labels import read_labels
from models.settings import Settings

# What a spreadsheet, a CSV reader or a shell would trip over.
ODD_CLASS, ODD_PART = '=pit, "deep"; 2\t<b>', 'part;"7", öä\n2'


def record(number: int, **changes: object) -> LabelRecord:
    fields: dict[str, object] = {
        "sha256": hashlib.sha256(str(number).encode()).hexdigest(), "media_type": "image/png",
        "judgement": Judgement.GOOD, "defect_class": None, "part": f"p-{number}", "lot": None, "station": None,
        "captured_at": None, "source": LabelSource.REFERENCE, "labelled_by": (), "is_confirmed": False,
        "labelled_at": datetime(2026, 1, 1, tzinfo=UTC), "inclusion_probability": None, "inspection_id": None,
        "audit_id": None, "use": PartUse.TRAIN,
    }  # fmt: skip
    return LabelRecord(**(fields | changes))  # type: ignore[arg-type]


def test_the_trainers_reader_gets_back_every_label(tmp_path: Path) -> None:
    records = [
        record(1),
        record(2, judgement=Judgement.DEFECTIVE, defect_class=ODD_CLASS, part=ODD_PART),
        record(3, judgement=Judgement.DEFECTIVE, media_type="image/jpeg"),
        # A class without a defect (from a label that was corrected) would refuse the whole file.
        record(4, defect_class="pit"),
    ]
    (tmp_path / "labels.csv").write_bytes(labels_csv(records))
    read = {label.path.name: label for label in read_labels(tmp_path / "labels.csv", tmp_path, Settings())}
    assert len(read) == 4
    for each in records:
        label = read[f"{each.sha256}{'.jpg' if each.media_type == 'image/jpeg' else '.png'}"]
        is_defective = each.judgement is Judgement.DEFECTIVE
        assert (label.is_defective, label.group) == (is_defective, each.part)
        assert label.defect_class == (each.defect_class if is_defective else None)


def picture(rng: np.random.Generator) -> bytes:
    rough = rng.uniform(40, 200, (6, 6, 3)).astype(np.float32)
    grain = rng.normal(0, 4, (96, 96, 3))
    shown = np.clip(cv2.resize(rough, (96, 96), interpolation=cv2.INTER_CUBIC) + grain, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", shown)[1].tobytes())


@pytest.fixture(name="made")
def _made(tmp_path: Path) -> tuple[Path, str, list[str]]:
    """A central, the id of a version of 24 pictures that it made, and their digests."""
    done = initialise(tmp_path / "central", Wanted(port=0, broker_url="mqtt://127.0.0.1:1"), SystemClock())
    settings = load_settings(done.settings_file, {})
    database, blobs = Database(settings.database_url), Blobs(settings.blobs, settings.uploads_dir)
    rng, now = np.random.default_rng(3), SystemClock().now()
    digests = [blobs.put(picture(rng)) for _ in range(24)]
    with database.begin() as session:
        for index, sha256 in enumerate(digests):
            row = LabelledPicture(
                product="ring", sha256=sha256, judgement=Judgement.DEFECTIVE if index >= 20 else Judgement.GOOD,
                defect_class=ODD_CLASS if index >= 20 else None, part_id=f"p-{index // 2}",
                source=LabelSource.REFERENCE, added_at=now, added_by="anna", is_simulated=False,
            )  # fmt: skip
            audits.keep_label(session, row)
        training = Training(
            training_id="t-1", product="ring", detector=DetectorKind.AUTO, reason="r", created_at=now,
            is_simulated=False,
        )  # fmt: skip
        session.add(training)
    with database.read() as session:
        rows = session.exec(select(LabelledPicture)).all()
    use = {f"p-{index}": PartUse.HOLDOUT if index < 3 else PartUse.TRAIN for index in range(12)}
    dataset_id = keep_version(database, blobs, training, rows=rows, use=use, settings=LearningSettings(), now=now)
    database.close()
    return done.settings_file.parent, dataset_id, digests


def test_a_real_version_comes_out_whole_and_clean_reads_it(
    made: tuple[Path, str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, dataset_id, digests = made
    out = tmp_path / "out"
    words = ["export-dataset", "--data", str(folder), dataset_id, "--out", str(out)]
    assert main(words) == 0
    assert "24 of 24 pictures of ring" in capsys.readouterr().out
    assert {path.stem for path in (out / "images").iterdir()} == set(digests)
    assert sorted(path.name for path in out.iterdir()) == ["images", "labels.csv"]
    for path in (out / "images").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    read = read_labels(out / "labels.csv", out / "images", Settings())
    assert sum(label.is_defective for label in read) == 4
    assert all(label.path.is_file() for label in read)
    clean = [
        sys.executable, "-m", "models", "clean", "--images", str(out / "images"), "--layout", "folder",
        "--labels", str(out / "labels.csv"), "--out", str(tmp_path / "list.json"),
    ]  # fmt: skip
    done = subprocess.run(clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "list.json").read_text())
    # What it lists can be sent back as it is: pictures by the digests of the version.
    assert {each["sha256"] for each in told["suspect_labels"]} <= set(digests)
    assert told["suspect_labels"]
    assert main(words) == 2
    assert "--out: expected a new or an empty folder" in capsys.readouterr().err


def test_pictures_that_are_gone_are_named_and_their_labels_stay(
    made: tuple[Path, str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, dataset_id, digests = made
    settings = load_settings(folder / "central.toml", {})
    Blobs(settings.blobs, settings.uploads_dir).delete(digests[0])
    assert main(["export-dataset", "--data", str(folder), dataset_id, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "23 of 24 pictures" in told.out
    assert f"picture {digests[0]} is no longer stored" in told.err
    assert digests[0] in (tmp_path / "out" / "labels.csv").read_text()


@pytest.mark.parametrize(("name", "words"), [("nonsense", "expected the 64 letters"), ("f" * 64, "no such version")])
def test_a_version_that_is_not_there_is_said(
    made: tuple[Path, str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    assert main(["export-dataset", "--data", str(made[0]), name, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_version_itself_is_untouched(made: tuple[Path, str, list[str]], tmp_path: Path) -> None:
    settings = load_settings(made[0] / "central.toml", {})
    with Database(settings.database_url).read() as session:
        before = session.get_one(DatasetVersion, made[1]).model_dump()
    assert main(["export-dataset", "--data", str(made[0]), made[1], "--out", str(tmp_path / "out")]) == 0
    with Database(settings.database_url).read() as session:
        assert session.get_one(DatasetVersion, made[1]).model_dump() == before
