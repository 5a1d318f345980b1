# SPDX-License-Identifier: Apache-2.0
"""The station as a process, with Aravis' fake GigE camera before it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.vocabulary import Verdict
from tests.edge.camera.gige import fake_gige_camera
from tests.edge.camera.rigs import free_port
from tests.edge.test_process import made_line, wait_until


@pytest.mark.slow
@pytest.mark.genicam
def test_station_judges_parts_of_a_genicam_camera_and_goes_on_after_it_was_unplugged(tmp_path: Path) -> None:
    with fake_gige_camera() as camera, made_line(tmp_path, free_port()) as line:
        text = line.settings.read_text()
        start = text.index("source = {")
        source = 'source = { kind = "genicam", url = "127.0.0.1", product = "ring", rate_hz = 10, retry_max_s = 0.2 }'
        line.settings.write_text(text[:start] + source + text[text.index("\n", start) :])
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
        log_path = tmp_path / "log-0.txt"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--settings", str(line.settings)],
                stdout=log,
                stderr=log,
                env=environ,
            )
        line.processes.append(process)
        # Its broker is away, so that each signal that it tries to send is in the log.
        wait_until(lambda: "reject signal failed trigger_number=3 " in line.log(), "parts")
        camera.kill()
        wait_until(lambda: "source lost" in line.log(), "loss noticed")
        camera.start()
        wait_until(lambda: "reject signal failed trigger_number=15 " in line.log(), "parts after the loss")
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert "Traceback" not in line.log()
        recorded = line.recorded()
    numbers = [report.trigger_number for report in recorded]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 16
    assert {report.verdict for report in recorded} - {Verdict.NO_DECISION}
    assert not any(report.is_simulated for report in recorded)
