# SPDX-License-Identifier: Apache-2.0
"""Whether something keeps this machine's clock right, as its kernel knows. Changes nothing.

Asked by `monitor.clock_watch` and `doctor`.
"""

import ctypes
from typing import Final

# Of <sys/timex.h>: the kernel's clock is not disciplined by anything.
_STA_UNSYNC: Final = 0x0040


def kernel_clock_is_synchronised() -> bool | None:
    """What the kernel says (`adjtimex`); None where it cannot be asked."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        # struct timex: `modes` (0: only read) and then offset, freq, maxerror, esterror before `status`.
        answer = (ctypes.c_long * 64)()
        if library.adjtimex(ctypes.byref(answer)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    status = ctypes.c_int.from_buffer(answer, 5 * ctypes.sizeof(ctypes.c_long)).value
    return not status & _STA_UNSYNC
