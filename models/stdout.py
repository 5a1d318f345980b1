# SPDX-License-Identifier: Apache-2.0
"""What a command says on stdout, down to the last byte: a full disk or a reader that went away is told in one line.

Without the flush the refusal would come when the interpreter ends, as a complaint of its own that nobody can answer.
Called by the commands.
"""

import contextlib
import os
import sys
from typing import TextIO, cast

from models.errors import InputError


def say(text: str) -> None:
    """Write to stdout and see that it arrived. A stdout that was closed from the start wants to hear nothing.

    Raises:
        InputError: it takes no more. What the command wrote into files is whole.
    """
    stream = cast("TextIO | None", sys.stdout)
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        _hush(stream)
        raise InputError(
            f"stdout: cannot be written ({error.strerror}); what went into files is whole, but not all was told"
        ) from error


def settle() -> None:
    """What others held back for stdout goes out, or nowhere, so that the end of the process complains of nothing."""
    stream = cast("TextIO | None", sys.stdout)
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        _hush(stream)


def _hush(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
