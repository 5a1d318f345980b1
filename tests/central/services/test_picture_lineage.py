# SPDX-License-Identifier: Apache-2.0
"""From a picture or a verdict to versions, packages and people, on rows that the loop itself made."""

import pytest
from sqlmodel import select

from central.errors import NotFoundError
from central.services.trainings import picture_lineage
from central.services.trainings.picture_lineage import of_inspection, of_picture
from central.store.tables import Evidence, LabelledPicture, Station
from contracts.vocabulary import EvidenceKind, Judgement, LabelSource, PartUse, Verdict
from tests.central.services.bench import EPOCH, PRODUCT, Bench


def test_a_picture_tells_every_version_and_package_that_it_is_in_on_its_side(bench: Bench) -> None:
    bench.commission("st-1")
    first = bench.champion() or ""
    bench.add_label(Judgement.DEFECTIVE, LabelSource.REFERENCE, "later")
    with bench.database.read() as session:
        rows = session.exec(select(LabelledPicture)).all()
        later = next(row for row in rows if row.part_id == "later")
        sides = set()
        for row in rows:
            found = of_picture(session, bench.blobs, row.sha256)
            assert [label.sha256 for label in found.labels] == [row.sha256]
            assert (found.versions_looked_into, found.versions_of_product) == (1, 1)
            if row is later:
                assert found.versions == []
                continue
            (version,) = found.versions
            assert version.package_ids == [first]
            assert version.training_ids == [bench.trainings()[0].training_id]
            assert (version.record.part, version.record.judgement) == (row.part_id, row.judgement)
            sides.add(version.record.use)
        assert sides == {PartUse.TRAIN, PartUse.HOLDOUT}
        with pytest.raises(NotFoundError, match="nobody judged it"):
            of_picture(session, bench.blobs, "0" * 64)


def test_versions_beyond_the_bound_are_told_and_not_passed_over_in_silence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.commission("st-1")
    monkeypatch.setattr(picture_lineage, "MOST_VERSIONS", 0)
    with bench.database.read() as session:
        sha256 = session.exec(select(LabelledPicture.sha256)).first() or ""
        found = of_picture(session, bench.blobs, sha256)
    assert (found.versions, found.versions_looked_into, found.versions_of_product) == ([], 0, 1)


def test_a_verdict_leads_to_what_taught_its_package_and_to_what_its_picture_taught(bench: Bench) -> None:
    (station,) = bench.commission("st-1")
    champion = bench.champion()
    bench.report(station, [Verdict.NG, Verdict.NO_DECISION])
    address = str(station.address)
    with bench.database.begin() as session:
        learnt = session.exec(select(LabelledPicture).where(LabelledPicture.part_id == "reference-0")).one()
        station_id = session.exec(select(Station.id).where(Station.address == address)).one()
        session.add(
            Evidence(
                station_id=station_id or 0, epoch=EPOCH, sequence=1, kind=EvidenceKind.CROP, sha256=learnt.sha256,
                size_bytes=1, media_type="image/png", is_simulated=True, offered_at=bench.clock.now(),
                stored_at=bench.clock.now(),
            )
        )  # fmt: skip
        session.flush()
        entry, package, pictures = of_inspection(session, bench.blobs, address, EPOCH, 1)
        assert entry.inspection.product == PRODUCT
        assert package is not None
        assert (package.package.package_id, package.dataset is not None) == (champion, True)
        (picture,) = pictures
        assert picture.versions[0].package_ids == [champion]
        assert [(where, row.sequence) for where, row in picture.inspections] == [(address, 1)]
        # No package judged the second one, and it has no picture.
        assert of_inspection(session, bench.blobs, address, EPOCH, 2)[1:] == (None, [])
        with pytest.raises(NotFoundError, match="no inspection"):
            of_inspection(session, bench.blobs, address, EPOCH, 99)
