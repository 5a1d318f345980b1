# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.browser.rollout_screenshots`: plays the three stories about rollouts and takes their evidence pages.

Each picture is taken once the rollout has ended and the stations run what they should; the story is a shipped scenario,
played by the command as a person plays it. Not a test; run by `make screenshots`.
"""

from __future__ import annotations

import argparse
import queue
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Final

from plant.processes.broker import free_port
from tests.browser.chromium import Tab, browser_tab
from tests.browser.screenshots import IMAGES, shoot, wait_for

STORIES: Final = ("rollout-worse", "rollout-better", "rollout-partition")
# What the evidence page must say of the second rollout; the first one is the commissioning.
_ENDS: Final = {"rollout-worse": "error", "rollout-better": "finished", "rollout-partition": "finished"}
_PATIENCE_S: Final = 1200.0


def take(story: str) -> None:
    """Play one story until its rollout has ended, take its page, and stop it.

    Raises:
        ChildProcessError: the run ended before its rollout did.
        TimeoutError: the rollout did not end.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        # More parts and time than the picture needs: it is stopped once the picture is taken.
        command = [sys.executable, "-m", "plant.cli", "demo", "--scenario", story, "--parts", "1000000"]
        command += ["--time-limit", "3600", "--dashboard-port", str(port), "--data", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
            said = _said_by(demo)
            try:
                wait_for(f"http://127.0.0.1:{port}/_stcore/health", demo)
                with browser_tab() as tab:
                    tab.open(f"http://127.0.0.1:{port}/rollouts")
                    _wait_for_end(tab, demo, said, _ENDS[story])
                    shoot(tab, IMAGES / f"{story}.png")
            finally:
                demo.terminate()
                demo.wait(timeout=60)


def _said_by(demo: subprocess.Popen[str]) -> queue.Queue[str]:
    """What the command prints; read all the time, or it would stand still with a full pipe."""
    lines: queue.Queue[str] = queue.Queue()

    def read(stream: IO[str]) -> None:
        for line in stream:
            lines.put(line)
            sys.stdout.write(line)

    assert demo.stdout is not None
    threading.Thread(target=read, args=(demo.stdout,), daemon=True).start()
    return lines


def _wait_for_end(tab: Tab, demo: subprocess.Popen[str], said: queue.Queue[str], state: str) -> None:
    """Until the command says that the stations run what they should, and the page that rollout 2 has ended so."""
    deadline, is_over, shown = time.monotonic() + _PATIENCE_S, False, ""
    while not is_over or "rollout 2" not in shown or state not in shown:
        if demo.poll() is not None:
            raise ChildProcessError(f"the demo ended with code {demo.returncode} before the picture was taken")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the page did not say that rollout 2 is {state} within {_PATIENCE_S:.0f} s: {shown}")
        while not said.empty():
            is_over = "the rollout is over" in said.get() or is_over
        if is_over:
            tab.open(tab.page.url)
            card = tab.page.locator(".sl-card").first
            card.wait_for(timeout=60_000)
            shown = card.inner_text().lower()
        tab.page.wait_for_timeout(1000)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.rollout_screenshots", description=__doc__)
    parser.add_argument("--only", choices=STORIES, action="append", help="this story alone; may be repeated")
    for story in parser.parse_args().only or STORIES:
        take(story)
    return 0


if __name__ == "__main__":
    sys.exit(main())
