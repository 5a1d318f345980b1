# SPDX-License-Identifier: Apache-2.0
"""Counts in words that people read: one of a thing is not "1 things".

Knows nothing of what is counted. Called by `limits`, `detectors`, `measuring`, `reporting`, `training` and `data`.
"""


def counted(count: int, thing: str) -> str:
    """`1 picture`, `2 pictures`; the plural ends in -s."""
    return f"{count} {plural(count, thing)}"


def plural(count: int, thing: str) -> str:
    """The word for so many of a thing."""
    return thing if count == 1 else f"{thing}s"
