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
