# SPDX-License-Identifier: Apache-2.0
"""What the commands that leave results in a folder have in common: the pictures they are asked about, and the bar.

Decides nothing and leaves no result. Called by `commands`, `import_command` and `quantize_command`.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from models.clock import Clock
from models.data.labels import read_labels
from models.data.layouts import Found, read_folder
from models.reporting.progress_bar import ProgressBar
from models.settings import Settings


def pictures_asked(arguments: argparse.Namespace, settings: Settings, seed: int) -> Found:
    """The judged pictures of `--images`, by `--layout`, `--half` and `--labels`, split by a seed.

    Raises:
        InputError: the folder or the labels cannot be used.
    """
    labels = [] if arguments.labels is None else read_labels(arguments.labels, arguments.images, settings)
    return read_folder(arguments.images, arguments.layout, settings, half=arguments.half, seed=seed, labels=labels)


@contextmanager
def bar_shown(clock: Clock, *, is_silent: bool) -> Iterator[ProgressBar]:
    """A bar on stderr until the end, however it comes."""
    bar = ProgressBar(clock, sys.stderr, is_silent=is_silent)
    if sys.stderr.isatty():
        # The bar says how far it is; only what is left out or goes wrong is worth a line above it.
        logging.getLogger().setLevel(logging.WARNING)
    try:
        yield bar
    finally:
        bar.close()
