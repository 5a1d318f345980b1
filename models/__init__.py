# SPDX-License-Identifier: Apache-2.0
"""Detectors, training, calibration, quantization, packaging. The only place for torch."""

from typing import Final

# Goes into each package's lineage; raised when the same pictures would give another detector.
__version__: Final = "0.1.0"
