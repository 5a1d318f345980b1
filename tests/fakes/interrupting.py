# SPDX-License-Identifier: Apache-2.0
"""Children that hear Ctrl-C, whatever started the tests.

A shell without job control tells what it starts in the background to ignore it, and children inherit that; a test that
interrupts one would wait for ever.
"""

import signal


def hear_ctrl_c() -> None:
    """For `preexec_fn`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
