# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from central.__main__ import main

DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_openapi_document_is_the_one_in_docs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-openapi"]) == 0
    assert capsys.readouterr().out == DOCUMENT.read_text(encoding="utf-8"), (
        "the API changed: run `sightline-central export-openapi --out docs/openapi.json`"
    )
