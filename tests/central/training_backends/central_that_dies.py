# SPDX-License-Identifier: Apache-2.0
"""Central as it is, but for one line at which it gets SIGKILL: `central_that_dies.py POINT run --data DIR`.

A point is `before:` or `after:` a function of central, by its full name; `after:…#2`: after its second call. Nothing
else is changed, and the signal is the real one: no handler, no `finally`, no flush.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from central.__main__ import main


def arm(point: str) -> None:
    when, _, rest = point.partition(":")
    path, _, count = rest.partition("#")
    module, _, names = path.partition("|")
    *owners, name = names.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    real: Callable[..., Any] = getattr(owner, name)
    left = int(count or 1)

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        # Some call themselves: what they do inside is not over when they return.
        is_it = left == 0
        if is_it and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **named)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


if __name__ == "__main__":
    arm(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
