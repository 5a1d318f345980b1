# SPDX-License-Identifier: Apache-2.0
"""A manifest comes back as it was written, and one that was altered is refused."""

import json
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from central.domain.datasets import DatasetQuery, version_of
from central.errors import StoreError
from central.store.dataset_files import from_parquet, query_as_json, query_from_json, to_parquet
from contracts.vocabulary import Judgement, LabelSource, PartUse
from tests.central.domain.test_datasets import AT, record

QUERY = DatasetQuery(
    product="ring",
    is_simulated=True,
    sources=tuple(LabelSource),
    through_label_id=12,
    labelled_until=AT + timedelta(microseconds=3),
    max_images=50,
    holdout_share=0.3,
    split_by="part",
)
RECORDS = [
    record(3, PartUse.HOLDOUT, captured_at=AT + timedelta(microseconds=7), labelled_by=("anna", "ben")),
    record(1, judgement=Judgement.DEFECTIVE, defect_class="pit", inclusion_probability=None, audit_id=None),
    record(2, lot=None, station=None, captured_at=None, inspection_id=None, labelled_by=()),
]


def test_a_manifest_comes_back_as_it_was_written() -> None:
    version, records = from_parquet(to_parquet(RECORDS, QUERY))
    assert version == version_of(RECORDS)
    assert records == sorted(RECORDS, key=lambda each: each.sha256)


def test_a_query_comes_back_as_it_was_stored() -> None:
    assert query_from_json(json.loads(json.dumps(query_as_json(QUERY)))) == QUERY


def test_other_programs_read_it_with_its_query() -> None:
    table = pq.read_table(pa.BufferReader(to_parquet(RECORDS, QUERY)))
    assert table.column("use").to_pylist() == ["TRAIN", "TRAIN", "HOLDOUT"]
    assert json.loads(table.schema.metadata[b"sightline.query"])["through_label_id"] == 12


def _altered(column: str, values: list[object]) -> bytes:
    table = pq.read_table(pa.BufferReader(to_parquet(RECORDS, QUERY)))
    place = table.schema.get_field_index(column)
    table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("judgement", ["GOOD", "GOOD", "GOOD"]),
        ("use", ["TRAIN", "TRAIN", "TRAIN"]),
        ("inclusion_probability", [None, 0.1, 0.2]),
    ],
)
def test_a_manifest_whose_rows_were_changed_is_refused(column: str, values: list[object]) -> None:
    with pytest.raises(StoreError, match="it was altered"):
        from_parquet(_altered(column, values))


def test_what_is_no_manifest_is_refused_in_one_line() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(StoreError, match="expected a manifest of format 1, got another file"):
        from_parquet(bytes(sink.getvalue().to_pybytes()))
    with pytest.raises(StoreError, match="expected a Parquet manifest"):
        from_parquet(b"no parquet at all")
    with pytest.raises(StoreError, match="expected a Parquet manifest"):
        from_parquet(_altered("judgement", ["MAYBE", "GOOD", "GOOD"]))
