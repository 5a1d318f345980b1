# SPDX-License-Identifier: Apache-2.0
"""Whether parts can be rendered while the line runs, or must be rendered beforehand: parts per second of one core.

Measured in processor time of one thread, so that other work on the machine does not count. The choice was to
render ahead by a few parts only; it stands as long as a part costs well below 10 ms at 256 px.
"""

from typing import Any

import cv2

from plant.parts.__main__ import parts_per_second
from plant.parts.catalogue import PRODUCTS


def run() -> dict[str, Any]:
    """Parts per second for each product at 256 and 512 px, every tenth part defective."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return {
            f"{product}_{size_px}px_parts_per_s": round(parts_per_second(product, size_px, 2.0))
            for product in PRODUCTS
            for size_px in (256, 512)
        }
    finally:
        cv2.setNumThreads(threads)
