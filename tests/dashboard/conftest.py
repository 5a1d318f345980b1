# SPDX-License-Identifier: Apache-2.0
"""What the dashboard's tests share: a stub central with a story, and the app run without a browser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from contracts.vocabulary import Verdict
from dashboard.settings import PREFIX
from tests.dashboard.plant_story import Story
from tests.dashboard.stub_central import VIEWER, StubCentral, stub_central

Opener = Callable[..., AppTest]
SCRIPT = Path(__file__).parents[2] / "dashboard" / "entry" / "script.py"


@pytest.fixture
def central() -> Iterator[StubCentral]:
    with stub_central(Story(audits={1: Verdict.OK, 2: Verdict.NG})) as stub:
        yield stub


@pytest.fixture
def opened(central: StubCentral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Open the app, or one page of it, against the stub: with a token file or without."""
    # The tester puts its temporary script in the place of `__main__`, and leaves it: a later test of this worker
    # that starts a process would have it run that script.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def open_app(page: str | None = None, *, token: str | None = VIEWER, url: str | None = None) -> AppTest:
        monkeypatch.setenv(f"{PREFIX}CENTRAL", url or central.url)
        if token is not None:
            file = tmp_path / "token"
            file.write_text(token, encoding="utf-8")
            monkeypatch.setenv(f"{PREFIX}TOKEN_FILE", str(file))
        st.cache_resource.clear()
        if page is None:
            app = AppTest.from_file(str(SCRIPT), default_timeout=30)
        else:
            app = AppTest.from_function(_page, kwargs={"name": page}, default_timeout=30)
        app.query_params["name"] = "anna"
        return app.run()

    yield open_app
    st.cache_resource.clear()


def _page(name: str) -> None:
    """One page by itself: the tester cannot click through `st.navigation`."""
    import importlib  # noqa: PLC0415 - the tester runs this function's text as a script of its own

    importlib.import_module(f"dashboard.pages.{name}").page()


def texts(app: AppTest) -> str:
    """Everything on the screen that is text or markup of ours."""
    found = [str(getattr(item.proto, "body", "")) for item in app.get("html")]
    for kind in ("markdown", "error", "caption", "button", "text_input"):
        found += [f"{getattr(item, 'value', '')} {getattr(item, 'label', '')}" for item in app.get(kind)]
    return "\n".join(found)
