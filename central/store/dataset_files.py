# SPDX-License-Identifier: Apache-2.0
"""The manifest of a dataset version as a Parquet file: a row a picture, the query and the version beside them.

Reading checks that the rows are those that the version names. Knows no table of the database. pyarrow is loaded only
when a manifest is written or read: most processes of central never do. Called by `services/trainings/datasets.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from central.domain.datasets import FORMAT, DatasetQuery, LabelRecord, version_of
from central.errors import StoreError
from contracts.vocabulary import Judgement, LabelSource, PartUse

MEDIA_TYPE: Final = "application/vnd.apache.parquet"
_PREFIX: Final = "sightline."


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415 -- see the module

    text, time = pa.string(), pa.timestamp("us", tz="UTC")
    wanted = {"sha256": text, "media_type": text, "judgement": text, "part": text, "source": text, "use": text}
    kinds = {
        **wanted, "defect_class": text, "lot": text, "station": text, "captured_at": time,
        "labelled_by": pa.list_(text), "labelled_at": time, "is_confirmed": pa.bool_(),
        "inclusion_probability": pa.float64(), "inspection_id": pa.int64(), "audit_id": pa.int64(),
    }  # fmt: skip
    never_null = {*wanted, "labelled_by", "labelled_at", "is_confirmed"}
    names = [field.name for field in fields(LabelRecord)]
    return pa.schema([pa.field(name, kinds[name], nullable=name not in never_null) for name in names])


def to_parquet(records: Sequence[LabelRecord], query: DatasetQuery) -> bytes:
    """The file of a version, in an order of its own."""
    import pyarrow as pa  # noqa: PLC0415 -- see the module
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = [asdict(record) for record in sorted(records, key=lambda record: record.sha256)]
    said = {"format": str(FORMAT), "version": version_of(records), "query": json.dumps(query_as_json(query))}
    schema = _schema().with_metadata({f"{_PREFIX}{name}": value for name, value in said.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def from_parquet(content: bytes) -> tuple[str, list[LabelRecord]]:
    """The version and its records.

    Raises:
        StoreError: not such a file, of a later format, or its rows are not those of its version.
    """
    import pyarrow as pa  # noqa: PLC0415 -- see the module
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(pa.BufferReader(content))
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        told, version = metadata.get(f"{_PREFIX}format"), metadata.get(f"{_PREFIX}version", "")
        if told != str(FORMAT):
            raise StoreError(f"dataset: expected a manifest of format {FORMAT}, got {told or 'another file'}")
        records = [_record(row) for row in table.to_pylist()]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"dataset: expected a Parquet manifest, got what cannot be read ({error})") from error
    if version_of(records) != version:
        raise StoreError(
            f"dataset {version[:12]}: its rows are those of {version_of(records)[:12]}; it was altered, fetch it again"
        )
    return version, records


def records_with(content: bytes, sha256: str) -> list[LabelRecord]:
    """The records of one picture, without the rest: at most one. Does not check the rows against the version.

    Raises:
        StoreError: not such a file.
    """
    import pyarrow as pa  # noqa: PLC0415 -- see the module
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(pa.BufferReader(content), filters=[("sha256", "=", sha256)])
        return [_record(row) for row in table.to_pylist()]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"dataset: expected a Parquet manifest, got what cannot be read ({error})") from error


def query_as_json(query: DatasetQuery) -> dict[str, Any]:
    """The query as it is stored."""
    plain = asdict(query)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in plain.items()}


def query_from_json(given: dict[str, Any]) -> DatasetQuery:
    """The query as it was stored."""
    return DatasetQuery(
        **{
            **given,
            "sources": tuple(LabelSource(word) for word in given["sources"]),
            "labelled_until": datetime.fromisoformat(given["labelled_until"]),
        }
    )


def _record(row: dict[str, Any]) -> LabelRecord:
    values = {field.name: row[field.name] for field in fields(LabelRecord)}
    return LabelRecord(
        **{
            **values,
            "judgement": Judgement(row["judgement"]),
            "source": LabelSource(row["source"]),
            "use": PartUse(row["use"]),
            "labelled_by": tuple(row["labelled_by"]),
        }
    )
