# SPDX-License-Identifier: Apache-2.0
"""Where a holder's root key may not be made is said before the first key is, in the dry run too."""

from pathlib import Path

import pytest

from central.trust.changes import KeyChangeError
from tests.central.trust.test_changes import Plant


@pytest.mark.parametrize("below", ["keys", "tuf/metadata", "."])
def test_root_key_is_not_made_among_centrals_keys(tmp_path: Path, below: str) -> None:
    plant = Plant(tmp_path)
    link = tmp_path / "looks-like-a-stick"
    link.symlink_to(plant.trust / below)
    for folder in (plant.trust / below, link):
        plant.sticks["bo"] = folder
        holders = [plant.holder("anna"), plant.holder("bo")]
        with pytest.raises(KeyChangeError, match="--holder bo: expected a folder off this machine's keys, got"):
            plant.plans.check_ceremony(holders, 1)
        with pytest.raises(KeyChangeError, match="off this machine's keys"):
            plant.plans.ceremony(holders, 1, "x", str)
    assert list(plant.sticks["anna"].iterdir()) == []


def test_folder_that_cannot_be_written_is_refused_before_a_key_is_made(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.sticks["bo"] = Path("/proc")
    with pytest.raises(KeyChangeError, match="--holder bo: expected a folder that can be written, got /proc: "):
        plant.plans.check_ceremony([plant.holder("anna"), plant.holder("bo")], 1)
    plant.plans.check_ceremony([plant.holder("anna")], 1)
    assert list(plant.sticks["anna"].iterdir()) == []
