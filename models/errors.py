# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in training, split by who must act.

ModelsError
├── InputError         the pictures, labels, job or weights given are wrong: exit code 2, a person corrects them
└── QuantizationError  this variant does not come about; the training goes on without it
BaseException
└── CancelledError     somebody asked us to stop: nothing half-written is left
"""


class ModelsError(Exception):
    """Root of this room's errors."""


class InputError(ModelsError):
    """What was given cannot be used; the text says what was expected, what came, what to do."""


class CancelledError(BaseException):
    """The training was asked to stop (SIGTERM, Ctrl-C). No handler for ordinary errors may swallow it."""


class QuantizationError(ModelsError):
    """A quantized variant could not be made. Caught by the training, which notes it."""


def was_asked_to_stop(error: BaseException) -> bool:
    """Whether an error is, or was caused by, a request to stop.

    An extension module that is interrupted between its own steps may wrap the request into a SystemError.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, CancelledError):
            return True
        link = link.__cause__ or link.__context__
    return False
