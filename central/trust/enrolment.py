# SPDX-License-Identifier: Apache-2.0
"""What a new station is given by hand: the root of trust and the assignment key's public half.

Creates keys, repository and enrolment files once; running it again changes nothing but what is due for an upgrade.
Does not reach stations: a person (or the installer) carries the two files; from then on a station follows the roots by
itself. Called by `sightline-central init`, at the start of central and after a change of keys.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Final

from central.trust.keys import KeyName, create_keys, load_signer, write_whole
from central.trust.repository import PackageRepository

KEYS_FOLDER: Final = "keys"
REPOSITORY_FOLDER: Final = "tuf"
ENROLMENT_FOLDER: Final = "enrolment"
ROOT_FILE: Final = "root.json"
ASSIGNMENT_KEY_FILE: Final = "assignment.pub"


def initialise_trust(trust_dir: Path, now: datetime) -> None:
    """Make keys, an empty package repository and the enrolment files below `trust_dir`, where absent.

    Raises:
        SigningKeyError: a key that exists cannot be used; the message says what to do.
    """
    keys = trust_dir / KEYS_FOLDER
    repository = PackageRepository(trust_dir / REPOSITORY_FOLDER, keys)
    if not repository.metadata_dir.is_dir():
        # Never again after that: a key that was taken offline or exchanged must not come back as another one.
        create_keys(keys)
    repository.create(now)
    repository.upgrade(now)
    write_enrolment(trust_dir)


def has_repository(trust_dir: Path) -> bool:
    """Whether a root of trust was ever made here."""
    return open_repository(trust_dir).metadata_dir.is_dir()


def write_enrolment(trust_dir: Path) -> None:
    """Write the files for new stations: the newest root, the present assignment key."""
    enrolment = trust_dir / ENROLMENT_FOLDER
    repository = open_repository(trust_dir)
    root = repository.root()
    _write_if_new(enrolment / ROOT_FILE, (repository.metadata_dir / f"{root.signed.version}.root.json").read_bytes())
    public = load_signer(trust_dir / KEYS_FOLDER, KeyName.ASSIGNMENT).public_key
    content = {**public.to_dict(), "keyid": public.keyid}
    _write_if_new(enrolment / ASSIGNMENT_KEY_FILE, json.dumps(content, indent=2, sort_keys=True).encode())


def open_repository(trust_dir: Path) -> PackageRepository:
    """The package repository below `trust_dir`; metadata is read when it is used."""
    return PackageRepository(trust_dir / REPOSITORY_FOLDER, trust_dir / KEYS_FOLDER)


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)
