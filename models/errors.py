# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in training, split by who must act.

ModelsError
├── InputError         the pictures, labels, job or weights given are wrong: exit code 2, a person corrects them
├── QuantizationError  this variant does not come about; the training goes on without it
└── WorkerLostError    one of several workers is gone: the group ends; start again, it goes on from its checkpoints
BaseException
└── CancelledError     somebody asked us to stop: nothing half-written is left
"""

import threading
from typing import NoReturn

# Set once somebody asked this process to stop; see `ask_to_stop`.
_asked = threading.Event()


class ModelsError(Exception):
    """Root of this room's errors."""


class InputError(ModelsError):
    """What was given cannot be used; the text says what was expected, what came, what to do."""


class CancelledError(BaseException):
    """The training was asked to stop (SIGTERM, Ctrl-C). No handler for ordinary errors may swallow it."""


class QuantizationError(ModelsError):
    """A quantized variant could not be made. Caught by the training, which notes it."""


class WorkerLostError(ModelsError):
    """A worker of a group died, hangs or lost its machine; no step of the group can be ended without it."""


def ask_to_stop() -> NoReturn:
    """Remember that somebody asked this process to stop, and raise it where the work is just now.

    Raises:
        CancelledError: always.
    """
    _asked.set()
    raise CancelledError


def raise_if_asked() -> None:
    """Raise the request again: a native callback or a finalizer in which it came up may have swallowed it.

    Raises:
        CancelledError: somebody asked this process to stop.
    """
    if _asked.is_set():
        raise CancelledError


def forget_requests() -> None:
    """A new command begins; what was asked of the one before does not concern it."""
    _asked.clear()


def was_asked_to_stop(error: BaseException) -> bool:
    """Whether an error is, or was caused by, a request to stop.

    An extension module that is interrupted between its own steps may wrap the request into an error of its own, with
    or without naming the cause; after a request every error counts as its echo.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    # An error can be its own cause (`raise error from error`).
    while link is not None and id(link) not in seen:
        if isinstance(link, CancelledError):
            return True
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return _asked.is_set()
