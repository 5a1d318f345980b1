# SPDX-License-Identifier: Apache-2.0
"""A package that passes every part is taken back from its canary by the limits, at night: nobody does anything here."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.edge.station_fakes import STATION
from tests.end_to_end.test_rollout_in_shadow import SOUND, RolloutPlant

# Surely NG of the champion, and OK of a package that takes 0.6 off every score.
BAD = 200
BAD_SHARE, PAST, AT_ONCE = 0.6, 400, 5
PLAN = {
    "waves": [
        # More parts than the limits need, so that only they can end it.
        {"scope": "COUNT", "amount": 1, "bake_parts": 1_000, "control": {"chunk_parts": 5}},
        {"scope": "ALL"},
    ]
}


@pytest.fixture(name="plant")
def _plant(tmp_path: Path) -> Iterator[RolloutPlant]:
    with ExitStack() as stack:
        plant = RolloutPlant(tmp_path, stack)
        plant.begin(tmp_path, offset=-0.6)
        yield plant


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_canary_that_lets_everything_pass_is_sent_back_by_its_limits_without_a_person(
    plant: RolloutPlant,
) -> None:
    rng = random.Random(4)

    def show(parts: int) -> None:
        """As a line shows them: never more at once than the station has room for."""
        for _ in range(parts // AT_ONCE):
            for _ in range(AT_ONCE):
                plant.show(BAD if rng.random() < BAD_SHARE else SOUND)
            plant.until(lambda: plant.get("/inspections?limit=1")["items"][0]["trigger_number"] >= plant._number)

    show(PAST)
    blind = plant.challenger
    plant.start_rollout(blind, PLAN)
    plant.until(lambda: plant.judging() == blind)

    def goes_back() -> bool:
        show(AT_ONCE)
        return bool(plant.newest()["state"] == "ERROR")

    plant.until(goes_back)
    rollout = plant.newest()
    assert any("limits of canary: missing rejects: 0 of " in line for line in rollout["history"])
    plant.until(lambda: plant.judging() == plant.champion)
    evidence: dict[str, Any] = plant.get(f"/rollouts/{rollout['id']}/evidence")
    told = evidence["steps"][-1]["evidence"]["limits"]["0"]["quantities"]["missing rejects"]
    row = told["stations"][str(STATION)]
    assert (told["decision"], row["hits"]) == ("ABORT", 0)
    assert row["past_hits"] / row["past_parts"] == pytest.approx(BAD_SHARE, abs=0.15)
    # Every look until then is in the file, and so are the parts that it let pass.
    assert evidence["looks"][-1]["evidence"]["quantities"]["missing rejects"]["decision"] == "ABORT"
    assert len(evidence["looks"]) > 1
    assert evidence["exposure"]["passed"] == evidence["exposure"]["parts"] >= row["parts"]
    # A part judged since is the champion's again.
    show(20)
    plant.until(lambda: plant.get("/inspections?limit=1")["items"][0]["package_id"] == plant.champion)
