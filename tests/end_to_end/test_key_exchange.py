# SPDX-License-Identifier: Apache-2.0
"""The assignment key exchanged by command while broker, central and station run: the station follows by itself."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from central.__main__ import main
from tests.central.ingest.brokers import wait_until
from tests.end_to_end.test_recipes import WITHIN_S, Plant


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_station_takes_recipes_under_the_exchanged_key_and_refuses_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        plant = Plant(tmp_path, stack)
        plant.start_central()
        token = plant.central.token("STATION")
        text = plant.line.settings.read_text()
        central = f'central = {{ url = "{str(plant.http.base_url).removesuffix("/api/v1/")}", token = "{token}" }}'
        plant.line.settings.write_text(re.sub(r"(?m)^central = .*$", central, text))
        plant.line.start()
        plant.make("ring", None, deadline_ms=30000)
        plant.until_status(product="ring", version=1, number=1)

        trust = tmp_path / "central" / "trust"
        before = json.loads((trust / "enrolment" / "assignment.pub").read_text())["keyid"]
        assert main(["keys", "rotate", "assignment", "--data", str(trust.parent), "--why", "a test", "--yes"]) == 0
        assert json.loads((trust / "enrolment" / "assignment.pub").read_text())["keyid"] != before
        # What is in force is signed anew by itself, and the next version is signed by the new key alone.
        plant.until_status(product="ring", version=1, number=2)
        plant.make("ring", 1, deadline_ms=29000)
        plant.until_status(product="ring", version=2, number=3)
        wait_until(lambda: "root followed version=2" in plant.line.log(), plant.line.log, WITHIN_S)
        assert plant.inspected(plant.show_part())[:2] == ("ring", 2)
