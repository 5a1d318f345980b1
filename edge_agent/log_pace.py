# SPDX-License-Identifier: Apache-2.0
"""When a repeating trouble is worth another log line.

A trouble that comes with every part would write 15 lines a second and hide everything else. Counts nothing
itself: the counter belongs to whoever drops, refuses or fails, and is always exact.
"""


def is_worth_a_line(count: int) -> bool:
    """True for the 1st, 2nd, 4th, 8th … time, and then for every 1024th."""
    return count % 1024 == 0 if count > 1024 else count & (count - 1) == 0
