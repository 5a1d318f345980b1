# SPDX-License-Identifier: Apache-2.0
"""A training writes down what it learns from, and what once tested never trains."""

import time
from dataclasses import replace

from sqlmodel import col, select

from central.domain.datasets import LabelRecord, version_of
from central.domain.learning import SplitBy
from central.services.trainings.datasets import ask_again
from central.store.dataset_files import from_parquet, query_from_json
from central.store.dataset_tables import DatasetVersion, HeldOutPicture
from central.store.learning_tables import Package, SplitGroup, Training
from central.store.repositories import audits
from central.store.tables import Audit, LabelledPicture
from contracts.vocabulary import AuditState, DetectorKind, Judgement, LabelSource, PartUse, TrainingState, Verdict
from tests.central.services.bench import PRODUCT, Bench, FakeStation


def learn(bench: Bench) -> Training:
    """One training from the wish to its end, without a rollout."""
    training_id = bench.learning.requests.request(PRODUCT, DetectorKind.AUTO, "test", bench.clock.now())

    while True:
        # Learning alone: a rollout under way would refuse the next training.
        bench.learning.tick(bench.clock.now())
        with bench.database.read() as session:
            training = session.get_one(Training, training_id)
        if training.state not in (TrainingState.QUEUED, TrainingState.RUNNING):
            return training
        time.sleep(0.02)


def versions(bench: Bench) -> list[DatasetVersion]:
    with bench.database.read() as session:
        return list(session.exec(select(DatasetVersion).order_by(col(DatasetVersion.created_at))).all())


def records(bench: Bench, version: DatasetVersion) -> dict[str, LabelRecord]:
    dataset_id, found = from_parquet(bench.blobs.read(version.file_sha256))
    assert dataset_id == version.dataset_id
    return {record.part: record for record in found}


def confirm_escape(bench: Bench, inspection_id: int, inspectors: list[str]) -> None:
    """An audit that each of them called defective, and the label that came of it."""
    sha256 = bench.blobs.put(f"crop of {inspection_id}".encode())
    with bench.database.begin() as session:
        asked = [
            Audit(
                inspection_id=inspection_id, product=PRODUCT, drawn_at=bench.clock.now(),
                inclusion_probability=0.125 if ask == 1 else 0.0, state=AuditState.JUDGED,
                judgement=Judgement.DEFECTIVE, inspector=inspector, judged_at=bench.clock.now(),
                is_simulated=True, ask=ask,
            )
            for ask, inspector in enumerate(inspectors, 1)
        ]  # fmt: skip
        session.add_all(asked)
        session.flush()
        audits.keep_label(
            session,
            LabelledPicture(
                product=PRODUCT, sha256=sha256, judgement=Judgement.DEFECTIVE, defect_class="pit",
                part_id=f"escape-{inspection_id}", source=LabelSource.AUDIT, inspection_id=inspection_id,
                audit_id=asked[0].id, added_at=bench.clock.now(), is_simulated=True,
            ),
        )  # fmt: skip


def test_a_training_keeps_a_version_with_the_provenance_of_every_label(any_bench: Bench) -> None:
    bench = any_bench
    bench.add_references(good=20, defective=6)
    station = bench.add_station("s1")
    alone, confirmed = bench.report(station, [Verdict.OK, Verdict.OK])
    confirm_escape(bench, alone, ["anna"])
    confirm_escape(bench, confirmed, ["anna", "ben"])
    training = learn(bench)
    assert training.state is TrainingState.FINISHED, training.error
    (version,) = versions(bench)
    assert training.dataset_id == version.dataset_id
    assert bench.job(training.training_id)["dataset_id"] == version.dataset_id
    with bench.database.read() as session:
        assert session.get_one(Package, training.package_id).dataset_id == version.dataset_id
    assert (version.pictures, version.good, version.defective, version.confirmed) == (28, 20, 8, 1)
    found = records(bench, version)
    assert len(found) == version.pictures
    one, two = found[f"escape-{alone}"], found[f"escape-{confirmed}"]
    assert (one.labelled_by, one.is_confirmed) == (("anna",), False)
    assert (two.labelled_by, two.is_confirmed) == (("anna", "ben"), True)
    assert (two.inclusion_probability, two.source, two.defect_class) == (0.125, LabelSource.AUDIT, "pit")
    assert (two.station, two.inspection_id) == (str(station.address), confirmed)
    assert two.lot == f"{station.address}/2026-03-01"
    reference = found["reference-0"]
    assert (reference.inclusion_probability, reference.labelled_by, reference.lot) == (None, (), None)
    images = bench.job(training.training_id)["images"]
    assert isinstance(images, list)
    assert {image["group"]: image["use"] for image in images} == {part: each.use for part, each in found.items()}
    assert version.held_out == sum(each.use is PartUse.HOLDOUT for each in found.values())


def test_the_same_labels_are_the_same_version(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    first, second = learn(bench), learn(bench)
    assert first.dataset_id == second.dataset_id is not None
    bench.add_label(Judgement.DEFECTIVE, LabelSource.AUDIT, "new")
    assert learn(bench).dataset_id != first.dataset_id
    assert len(versions(bench)) == 2


def test_a_stored_query_asked_again_gives_the_same_pictures(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    bench.add_label(Judgement.UNSURE, LabelSource.AUDIT, "unsure")
    bench.add_label(Judgement.DEFECTIVE, LabelSource.AUDIT, "sure")
    learn(bench)
    # Later by its number alone, at the same moment; and later by its time alone, under its old number.
    bench.add_label(Judgement.DEFECTIVE, LabelSource.AUDIT, "same moment")
    bench.clock.advance(60)
    bench.add_label(Judgement.GOOD, LabelSource.AUDIT, "unsure")
    for number in range(8):
        bench.add_label(Judgement.DEFECTIVE, LabelSource.AUDIT, f"later-{number}")
    learn(bench)
    assert len(versions(bench)) == 2
    for version in versions(bench):
        with bench.database.read() as session:
            again = ask_again(session, query_from_json(version.query))
        assert version_of(again) == version.dataset_id


def test_what_once_tested_stays_in_the_test_set(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    learn(bench)
    with bench.database.read() as session:
        before = {row.sha256 for row in session.exec(select(HeldOutPicture)).all()}
    for number in range(30):
        bench.add_label(Judgement.GOOD, LabelSource.REFERENCE, f"later-{number}")
    learn(bench)
    with bench.database.read() as session:
        after = {row.sha256 for row in session.exec(select(HeldOutPicture)).all()}
    assert before < after
    held_out = {each.sha256 for each in records(bench, versions(bench)[-1]).values() if each.use is PartUse.HOLDOUT}
    assert held_out == after


def test_a_training_that_would_learn_its_test_set_fails_and_says_so(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    assert learn(bench).state is TrainingState.FINISHED
    with bench.database.begin() as session:
        moved = session.exec(select(SplitGroup).where(SplitGroup.use == PartUse.HOLDOUT)).first()
        assert moved is not None
        part = moved.part_group
        moved.use = PartUse.TRAIN
        session.add(moved)
    failed = learn(bench)
    assert failed.state is TrainingState.FAILED
    assert failed.error is not None
    assert "1 of the training pictures were once in the test set" in failed.error
    assert "what once tested never trains" in failed.error
    assert failed.dataset_id is None
    assert len(versions(bench)) == 1
    # A further picture of that part, which itself never tested.
    with bench.database.begin() as session:
        row = session.exec(select(LabelledPicture).where(LabelledPicture.part_id == part)).one()
        row.sha256 = bench.blobs.put(b"another picture of the part")
        session.add(row)
    failed = learn(bench)
    assert failed.error is not None
    assert f"show parts that were once in the test set (such as {part})" in failed.error


def test_a_picture_that_is_no_longer_stored_is_in_no_version(bench: Bench) -> None:
    bench.add_references(good=20, defective=6)
    with bench.database.read() as session:
        gone = session.exec(select(LabelledPicture).where(LabelledPicture.part_id == "reference-3")).one().sha256
    bench.blobs.delete(gone)
    assert learn(bench).state is TrainingState.FINISHED
    (version,) = versions(bench)
    assert version.pictures == 25
    assert "reference-3" not in records(bench, version)


def label_parts(bench: Bench, station: FakeStation, judgements: list[Judgement]) -> None:
    """Parts of today that somebody judged."""
    ids = bench.report(station, [Verdict.OK] * len(judgements))
    with bench.database.begin() as session:
        for inspection_id, judgement in zip(ids, judgements, strict=True):
            audits.keep_label(
                session,
                LabelledPicture(
                    product=PRODUCT, sha256=bench.blobs.put(f"crop of {inspection_id}".encode()), judgement=judgement,
                    part_id=f"seen-{inspection_id}", source=LabelSource.REVIEW, inspection_id=inspection_id,
                    added_at=bench.clock.now(), is_simulated=True,
                ),
            )  # fmt: skip


def test_lots_stand_on_one_side_also_after_parts_were_what_was_split(bench: Bench) -> None:
    station = bench.add_station("s1")
    for _ in range(3):
        label_parts(bench, station, [Judgement.GOOD] * 8 + [Judgement.DEFECTIVE] * 3)
        bench.clock.advance(86_400)
    assert learn(bench).state is TrainingState.FINISHED
    by_lot = replace(bench.learning_settings, split_by=SplitBy.LOT)
    bench.build(learning=by_lot)
    for _ in range(8):
        label_parts(bench, station, [Judgement.GOOD] * 4 + [Judgement.DEFECTIVE] * 2)
        bench.clock.advance(86_400)
    training = learn(bench)
    assert training.state is TrainingState.FINISHED, training.error
    by_part, version = versions(bench)
    sides: dict[str | None, set[PartUse]] = {}
    for each in records(bench, version).values():
        sides.setdefault(each.lot, set()).add(each.use)
    assert len(sides) == 11
    assert all(len(uses) == 1 for uses in sides.values())
    assert {use for uses in sides.values() for use in uses} == {PartUse.TRAIN, PartUse.HOLDOUT}
    mixed = {each.lot for each in records(bench, by_part).values() if each.use is PartUse.HOLDOUT}
    assert all(sides[lot] == {PartUse.HOLDOUT} for lot in mixed)
    with bench.database.read() as session:
        assert version_of(ask_again(session, query_from_json(version.query))) == version.dataset_id
