# SPDX-License-Identifier: Apache-2.0
"""What a new station is given by hand: the first root of trust and the assignment key's public half.

Creates keys, repository and enrolment files once; running it again changes nothing. Does not reach stations:
a person (or the installer) carries the two files. Called by `sightline-central init`.
"""

import json
from datetime import datetime
from pathlib import Path

from central.trust.keys import KeyName, create_keys, load_signer, write_whole
from central.trust.repository import PackageRepository

KEYS_FOLDER = "keys"
REPOSITORY_FOLDER = "tuf"
ENROLMENT_FOLDER = "enrolment"
ROOT_FILE = "root.json"
ASSIGNMENT_KEY_FILE = "assignment.pub"


def initialise_trust(trust_dir: Path, now: datetime) -> None:
    """Make keys, an empty package repository and the enrolment files below `trust_dir`, where absent.

    Raises:
        SigningKeyError: a key that exists cannot be used; the message says what to do.
    """
    keys = trust_dir / KEYS_FOLDER
    create_keys(keys)
    repository = PackageRepository(trust_dir / REPOSITORY_FOLDER, keys)
    repository.create(now)
    enrolment = trust_dir / ENROLMENT_FOLDER
    write_whole(enrolment / ROOT_FILE, repository.first_root())
    public = load_signer(keys, KeyName.ASSIGNMENT).public_key
    content = {**public.to_dict(), "keyid": public.keyid}
    write_whole(enrolment / ASSIGNMENT_KEY_FILE, json.dumps(content, indent=2, sort_keys=True).encode())


def open_repository(trust_dir: Path) -> PackageRepository:
    """The package repository below `trust_dir`; metadata is read when it is used."""
    return PackageRepository(trust_dir / REPOSITORY_FOLDER, trust_dir / KEYS_FOLDER)
