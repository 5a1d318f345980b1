# SPDX-License-Identifier: Apache-2.0
"""A bar on a terminal, plain lines elsewhere, nothing when silent; time left only once it can be told."""

import io
from pathlib import Path

import pytest

from contracts.vocabulary import TrainingState
from models.reporting.progress_bar import CLEAR_LINE, ProgressBar, told_left
from models.training.progress import Progress
from tests.fakes.clock import FakeClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("elapsed_s", "fraction", "said"),
    [
        (1, 0.5, ""),
        (100, 0.01, ""),
        (100, 1.0, ""),
        (30, 0.5, ", about 30 s left"),
        (10, 0.9, ", about 5 s left"),
        (300, 0.5, ", about 5 min left"),
    ],
)
def test_time_left_is_told_once_it_can_be_known(elapsed_s: float, fraction: float, said: str) -> None:
    assert told_left(elapsed_s, fraction) == said


class _Clock(FakeClock):
    """The training side asks for seconds by another name."""

    def monotonic_s(self) -> float:
        return self.monotonic()


def test_terminal_shows_one_line_that_is_cleared_before_the_next() -> None:
    clock, stream = _Clock(), Terminal()
    bar = ProgressBar(clock, stream)
    clock.advance(10)
    bar("extracting features", 0.25)
    shown = stream.getvalue()
    assert shown.startswith(CLEAR_LINE + "[######......")
    assert "25%  extracting features, about 30 s left" in shown
    assert "\n" not in shown
    bar.close()
    assert stream.getvalue().endswith(CLEAR_LINE)


def test_elsewhere_a_plain_line_every_few_seconds() -> None:
    clock, stream = _Clock(), io.StringIO()
    bar = ProgressBar(clock, stream)
    for _ in range(20):
        clock.advance(1)
        bar("fitting", 0.5)
    bar.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == " 50% fitting, about 5 s left"
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_silent_means_nothing_at_all(stream: io.StringIO) -> None:
    clock = _Clock()
    bar = ProgressBar(clock, stream, is_silent=True)
    clock.advance(60)
    bar("fitting", 0.5)
    bar.close()
    assert stream.getvalue() == ""


def test_the_fraction_never_falls_though_a_part_is_done_again(tmp_path: Path) -> None:
    told: list[float] = []
    clock = _Clock()

    def note(_stage: str, fraction: float) -> None:
        told.append(fraction)

    def go(progress: Progress, *stages: float) -> None:
        for until in stages:
            progress.enter("stage", until)
            for share in (0.0, 0.5, 0.2, 1.0):
                clock.advance(1)
                progress.within(share)

    progress = Progress(tmp_path, "t-1", clock, note)
    go(progress, 0.05, 0.15)
    progress.go_back(0.15)
    go(progress, 0.4)
    assert told[-1] == pytest.approx(0.4), "not back, so as planned"
    go(progress, 0.9)
    for _ in range(2):
        progress.go_back(0.15)
        go(progress, 0.4, 0.9)
    go(progress, 0.99)
    progress.finish(TrainingState.FINISHED)
    assert told == sorted(told)
    assert told[-1] == 1
    assert told[-2] < 1
    assert len(set(told)) > 15, "it goes on while a part is done again"
