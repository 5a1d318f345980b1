# SPDX-License-Identifier: Apache-2.0
import io
import logging

import pytest

from central.settings import without_login as without_login_at_central
from edge_agent.__main__ import LineFormatter
from edge_agent.logins import without_login


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:secret@cam/1", "rtsp://cam/1"),
        ("cannot open 'rtsp://user:se@cret@cam/1'", "cannot open 'rtsp://cam/1'"),
        ("mqtt://broker:1883", "mqtt://broker:1883"),
        ("http://cam/a@b", "http://cam/a@b"),
        ("mail anna@example.org", "mail anna@example.org"),
    ],
)
def test_login_goes_and_everything_else_stays(text: str, shown: str) -> None:
    assert without_login(text) == shown


def test_log_lines_and_tracebacks_show_no_login() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter("%(message)s"))
    log = logging.getLogger("tests.edge.test_logins")
    log.addHandler(handler)
    try:
        log.error("lost %s", "rtsp://user:secret@cam/1", exc_info=OSError("no route to rtsp://user:secret@cam/1"))
    finally:
        log.removeHandler(handler)
    assert "secret" not in stream.getvalue()
    assert stream.getvalue().startswith("lost rtsp://cam/1\n")
    assert stream.getvalue().endswith("OSError: no route to rtsp://cam/1\n")


def test_central_masks_the_login_of_its_broker() -> None:
    assert without_login_at_central("mqtt://central:pa@ss@broker:1883") == "mqtt://***@broker:1883"
    assert without_login_at_central("mqtt://broker:1883") == "mqtt://broker:1883"
