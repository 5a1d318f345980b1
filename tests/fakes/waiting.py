# SPDX-License-Identifier: Apache-2.0
"""Wait for something that other threads bring about; the bound is a safety net, not an assertion on speed."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], bool], describe: Callable[[], str] = str, timeout_s: float = 60.0) -> None:
    """Poll until `is_so`; fail with `describe()` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            msg = f"did not happen within {timeout_s:g} s; {describe()}"
            raise AssertionError(msg)
        time.sleep(0.005)
