# SPDX-License-Identifier: Apache-2.0
"""The export command without a server: names, refusals, strangers at the address. The rest: test_mlflow_server.py."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from central.__main__ import main
from central.clock import SystemClock
from central.initial import Wanted, initialise
from central.mlflow_runs import _name, _text
from central.settings import load_settings
from central.store.database import Database
from central.store.learning_tables import Training
from contracts.vocabulary import DetectorKind


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A central with one training that waits."""
    initialise(tmp_path / "central", Wanted(port=0, broker_url="mqtt://127.0.0.1:1"), SystemClock())
    database = Database(load_settings(tmp_path / "central" / "central.toml", {}).database_url)
    with database.begin() as session:
        now = SystemClock().now()
        session.add(
            Training(
                training_id="t-1",
                product="ring",
                detector=DetectorKind.AUTO,
                reason="r",
                created_at=now,
                is_simulated=False,
            )
        )
    database.close()
    return tmp_path / "central"


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Somebody who says the same to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "to",
    ["sqlite:///m.db", "mlruns", "databricks", "file:///tmp/x", "http://", "http://h:99999", "ftp://h", "http://h?q=1"],
)
def test_an_address_that_is_no_server_is_refused_before_anything_is_read(
    to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-mlflow", "--data", str(tmp_path / "none"), "--to", to]) == 2
    told = capsys.readouterr().err
    assert "--to: expected http://HOST:PORT or https://HOST of an MLflow tracking server" in told
    assert "mlflow server --backend-store-uri" in told


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>a router</html>", "expected an MLflow tracking server, got an answer of another kind (200"),
        (404, b'{"detail": "Not Found"}', "expected an MLflow tracking server, got an answer of another kind (404"),
        (502, b"", "expected an MLflow tracking server, got an answer of another kind (502"),
        (401, b"", "refused (401); give a login that may write in the URL, or --token-file"),
        (403, b"{}", "refused (403)"),
        (500, b'{"error_code": "INTERNAL_ERROR", "message": "disk full"}', "INTERNAL_ERROR: disk full"),
        (200, b"{}", "expected an answer with 'experiment', got []"),
    ],
)
def test_who_answers_otherwise_is_told_and_how_far_it_came(
    folder: Path, capsys: pytest.CaptureFixture[str], status: int, body: bytes, words: str
) -> None:
    with answering(status, body) as url:
        assert main(["export-mlflow", "--data", str(folder), "--to", url.replace("//", "//anna:geheim@")]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "0 of 1 are there; give the command again, it goes on" in told
    assert "geheim" not in told
    assert told.count("\n") == 1


def test_nobody_there_is_told_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-mlflow", "--data", str(folder), "--to", "http://127.0.0.1:9"]) == 2
    told = capsys.readouterr().err
    assert "http://127.0.0.1:9: no answer" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--product", "RING!"], "--product: expected 1 … 63"),
        (["--since", "yesterday"], "--since: expected a date and time with its offset"),
        (["--since", "2026-01-31"], "--since: expected a date and time with its offset"),
        (["--token-file", "/nowhere"], "--token-file: cannot read /nowhere"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["export-mlflow", "--data", str(folder), "--to", "http://127.0.0.1:9", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_token_file_of_several_words_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "token").write_text("two words\n")
    words = ["--to", "http://127.0.0.1:9", "--token-file", str(folder / "token")]
    assert main(["export-mlflow", "--data", str(folder), *words]) == 2
    assert "expected one token in" in capsys.readouterr().err


def test_nothing_to_export_is_no_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--to", "http://127.0.0.1:9", "--since", "2999-01-01T00:00:00Z"]
    assert main(["export-mlflow", "--data", str(folder), *words]) == 0
    assert "0 trainings: 0 new, 0 updated, 0 unchanged" in capsys.readouterr().out


def test_no_code_of_mlflow_is_loaded_so_none_of_it_can_report_home() -> None:
    # Even where MLflow is installed: its telemetry begins with the import.
    code = (
        "import json, sys, central.__main__ as m; m.main(['export-mlflow', '--data', '/nowhere', '--to', 'x']); "
        "print(json.dumps(sorted(name for name in sys.modules if name.split('.')[0] == 'mlflow')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_names_stay_apart_in_mlflow_s_alphabet() -> None:
    assert _name("fp32.image_auroc") == "fp32.image_auroc"
    assert _name("head loss/fold 1:a-b") == "head loss/fold 1:a-b"
    odd = ["a,b", "a;b", "ä", "<pit>", "a//b", "/a", "a/", "../a", "a/./b", "x" * 300, "x" * 301]
    made = [_name(name) for name in odd]
    assert len(set(made)) == len(odd)
    assert all(len(name) <= 250 for name in made)
    assert _text("z" * 6_000) == "z" * 4_999 + "…"
    assert _text([1, None]) == "[1, null]"
