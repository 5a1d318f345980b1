# SPDX-License-Identifier: Apache-2.0
"""A training's report page as a browser shows it: nothing refused, every picture drawn, nothing too wide."""

from pathlib import Path

import numpy as np
import pytest

from contracts.jobs import EvaluationReport
from contracts.vocabulary import PartUse
from models.clock import SystemClock
from models.packages.reading import open_package
from models.reporting.page import render_page
from models.settings import Settings
from models.training.job import run_job
from tests.browser.chromium import browser_tab, missing_for_browser
from tests.models.conftest import make_job, write_parts

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    # One worker, so that the page is made once.
    pytest.mark.xdist_group("report_page"),
    pytest.mark.skipif(missing_for_browser() is not None, reason=str(missing_for_browser())),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with pictures, a long name and every kind of list."""
    folder = tmp_path_factory.mktemp("report")
    settings = Settings(cache_dir=folder / "cache", is_offline=True)
    rng = np.random.default_rng(0)
    images = [
        image
        for is_defective in (False, True)
        for use, count in ((PartUse.TRAIN, 12), (PartUse.HOLDOUT, 5))
        for image in write_parts(folder / ("long" * 20), rng, count, is_defective=is_defective, use=use)
    ]
    job = make_job(folder, images)

    def draw(report: EvaluationReport) -> None:
        content = render_page(job, report, open_package(Path(job.output_dir) / "package"), settings)
        (folder / "report.html").write_text(content)

    run_job(
        job,
        settings,
        SystemClock(),
        left_out=[f"{'x' * 150}-{place}.png: empty" for place in range(20)],
        before_last=draw,
    )
    return folder / "report.html"


@pytest.mark.parametrize("width_px", [390, 1200])
def test_page_draws_everything_within_its_width_and_asks_for_nothing(page: Path, width_px: int) -> None:
    with browser_tab(width_px, 900) as tab:
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url))
        tab.page.goto(page.as_uri())
        assert tab.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert tab.page.evaluate("document.images.length") >= 4
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width_px
        assert tab.page.evaluate("document.querySelectorAll('svg').length") == 2
        # A style that its own policy refuses would be an error in the console.
        assert tab.errors == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
