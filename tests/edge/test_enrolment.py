# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.enrolment import enrol
from edge_agent.errors import SettingsError
from edge_agent.settings import TrustSettings


def _write_key(path: Path) -> str:
    key = CryptoSigner.generate_ed25519().public_key
    path.write_text(json.dumps({"keyid": key.keyid, **key.to_dict()}))
    return key.keyid


def _given(folder: Path) -> TrustSettings:
    (folder / "root.json").write_text("{}")
    _write_key(folder / "assignment.pub")
    return TrustSettings(folder / "root.json", folder / "assignment.pub")


def test_first_start_keeps_copies_and_later_starts_need_no_files(tmp_path: Path) -> None:
    first = enrol(_given(tmp_path), tmp_path / "trust")
    later = enrol(TrustSettings(None, None), tmp_path / "trust")
    assert (later.root, later.assignment_key) == (first.root, first.assignment_key)


def test_exchanged_key_file_changes_nobody_the_station_obeys_and_is_named(tmp_path: Path) -> None:
    given = _given(tmp_path)
    first = enrol(given, tmp_path / "trust")
    _write_key(tmp_path / "assignment.pub")
    later = enrol(given, tmp_path / "trust")
    assert later.assignment_key == first.assignment_key
    assert later.differing == ("trust.assignment_key",)


def test_first_start_without_files_names_both_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        enrol(TrustSettings(None, tmp_path / "missing.pub"), tmp_path / "trust")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["trust.root", "trust.assignment_key"]


def test_wrong_key_is_refused_and_not_kept(tmp_path: Path) -> None:
    given = _given(tmp_path)
    (tmp_path / "assignment.pub").write_text("no key")
    with pytest.raises(SettingsError, match=r"trust\.assignment_key"):
        enrol(given, tmp_path / "trust")
    assert not (tmp_path / "trust").exists()
