# SPDX-License-Identifier: Apache-2.0
"""`sightline-central report shift`: to a file, and clear words when it cannot be."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pypdf import PdfReader

from central.__main__ import main
from central.settings import load_settings
from central.store.database import Database
from central.store.repositories import reports
from tests.central.conftest import STATION, make_report


@pytest.fixture(name="data", scope="module")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A central's folder with three parts of an hour ago."""
    folder = tmp_path_factory.mktemp("central")
    assert main(["init", "--data", str(folder)]) == 0
    at = datetime.now(UTC) - timedelta(hours=1)
    database = Database(load_settings(folder / "central.toml", {}).database_url)
    with database.begin() as session:
        made = [make_report(n, captured_at=at) for n in range(1, 4)]
        reports.store_batch(session, [reports.StationReports(STATION, 1_700_000_000_000, made)], [], at)
    database.close()
    return folder


def _times(hours: float = 3) -> list[str]:
    now = datetime.now(UTC)
    return ["--since", (now - timedelta(hours=hours)).isoformat(), "--until", now.isoformat()]


@pytest.mark.parametrize("ending", ["pdf", "csv"])
def test_the_report_is_written(data: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / f"report.{ending}"
    assert main(["report", "shift", str(file), "--data", str(data), *_times(), "--by", "kim"]) == 0
    assert str(file) in capsys.readouterr().out
    if ending == "pdf":
        text = PdfReader(io.BytesIO(file.read_bytes())).pages[0].extract_text()
        assert "3: 3 OK" in text
        assert "kim" in text
    else:
        assert "verdict_OK,,3,3," in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report.txt"], "expected a name that ends in .pdf or .csv"),
        (["report.pdf", "--day", "yesterday", "--shift", "06:00"], "--day: expected YYYY-MM-DD"),
        (["report.pdf", "--since", "2026-01-01T00:00", "--until", "2026-01-02T00:00"], "a time with its offset"),
        (["report.pdf", "--cost-of-part", "nan"], "expected 0 or more"),
        (["report.pdf", "--at", "nowhere"], "central knows no station"),
        (["report.pdf", *_times(24 * 9)], "at most 7 days"),
        (["missing/report.pdf", *_times()], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    data: Path, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "shift", str(tmp_path / arguments[0]), *arguments[1:], "--data", str(data)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not [*tmp_path.iterdir()]
