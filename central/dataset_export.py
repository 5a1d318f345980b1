# SPDX-License-Identifier: Apache-2.0
"""`sightline-central export-dataset`: a dataset version as a folder that `sightline-models` reads.

`images/` holds the pictures that are still stored, named by their digest, and `labels.csv` the labels of the version,
for `--images DIR/images --labels DIR/labels.csv`. Changes nothing in central.
"""

import argparse
import csv
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from central.domain.datasets import LabelRecord
from central.errors import SettingsError, StoreError
from central.services.trainings.datasets import find_version
from central.services.trainings.jobs import IMAGES_FOLDER, SUFFIXES, place_picture
from central.settings import load_settings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.dataset_files import from_parquet
from central.store.schema import require_current
from central.trust.keys import write_whole
from contracts.ids import Sha256
from contracts.vocabulary import Judgement

LABELS_NAME: Final = "labels.csv"
_COLUMNS: Final = ("path", "judgement", "defect_class", "group")
_MOST_TOLD: Final = 5


def labels_csv(records: Sequence[LabelRecord]) -> bytes:
    """The file of labels that `sightline-models` reads (docs/training.md): a line a picture, by its name in `images/`.

    Spreadsheets: a cell that begins with a sign of theirs comes as it is, since the file is read by programs and a
    changed part or class would be another one.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for record in sorted(records, key=lambda record: record.sha256):
        is_defective = record.judgement is Judgement.DEFECTIVE
        named = record.defect_class or "" if is_defective else ""
        writer.writerow([picture_name(record), "defective" if is_defective else "good", named, record.part])
    return out.getvalue().encode()


def picture_name(record: LabelRecord) -> str:
    """Of its file in `images/`, as in the folder of a training."""
    return f"{record.sha256}{SUFFIXES.get(record.media_type, '.png')}"


def add_dataset_commands(commands: Any) -> None:
    """`export-dataset` beside the other commands."""
    command = commands.add_parser("export-dataset", help="a dataset version as pictures and a file of labels")
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--settings", type=Path, metavar="FILE")
    where.add_argument("--data", type=Path, metavar="DIR", help="short for --settings DIR/central.toml")
    command.add_argument("dataset", metavar="DATASET", help="its id, as GET /datasets tells it")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="made; must be empty when it is there")
    command.set_defaults(call=_export)


def _export(options: argparse.Namespace) -> int:
    try:
        dataset_id = TypeAdapter(Sha256).validate_python(options.dataset)
    except ValidationError as error:
        raise SettingsError([f"DATASET: expected the 64 letters of its id, got {options.dataset!r}"]) from error
    settings = load_settings(options.settings or options.data / "central.toml")
    database = Database(settings.database_url)
    database.probe()
    require_current(database)
    blobs = Blobs(settings.blobs, settings.uploads_dir)
    with database.read() as session:
        row = find_version(session, dataset_id)
    _, records = from_parquet(blobs.read(row.file_sha256))
    lost = export(blobs, records, options.out)
    for sha256 in lost[:_MOST_TOLD]:
        sys.stderr.write(f"warning: picture {sha256} is no longer stored\n")
    if len(lost) > _MOST_TOLD:
        sys.stderr.write(f"warning: and {len(lost) - _MOST_TOLD} more\n")
    kept = len(records) - len(lost)
    print(f"{kept} of {len(records)} pictures of {row.product} in {options.out / IMAGES_FOLDER}")  # noqa: T201 - the answer
    print(f"labels in {options.out / LABELS_NAME}")  # noqa: T201 - as above
    return 0


def export(blobs: Blobs, records: Sequence[LabelRecord], folder: Path) -> list[str]:
    """Pictures and, last, their labels; gives the digests of pictures that are gone. All labels are written.

    Raises:
        StoreError: the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"--out: expected a new or an empty folder, got {folder} with something in it")
    images, lost = folder / IMAGES_FOLDER, []
    images.mkdir(parents=True)
    for record in records:
        try:
            place_picture(blobs.local_path(record.sha256, folder / ".cache"), images / picture_name(record))
        except StoreError:
            lost.append(record.sha256)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    write_whole(folder / LABELS_NAME, labels_csv(records))
    return lost
