# SPDX-License-Identifier: Apache-2.0
"""`python -m plant.parts sheet.png`: a contact sheet of sound and defective parts, and the rendering rate.

For people who tune the renderer. Writes one picture, nothing else.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from plant.parts.catalogue import KINDS, PRODUCTS, DefectSpec, Pixels
from plant.parts.renderer import PartRenderer


def contact_sheet(product: str, size_px: int, seed: int, severities: tuple[float, ...]) -> Pixels:
    """Rows of one product: sound parts, then each kind at rising severity. uint8 BGR."""
    renderer = PartRenderer(product, size_px, seed)
    columns = max(6, len(severities) * 2)
    rows = [[_named(renderer.render(number).pixels, "sound") for number in range(columns)]]
    for kind in KINDS[product]:
        row = []
        for number in (1000, 1001):
            for severity in severities:
                part = renderer.render(number, DefectSpec(kind, severity))
                row.append(_named(part.pixels, f"{kind} {severity:.2g}"))
        rows.append(row[:columns])
    return np.vstack([np.hstack(row) for row in rows])


def parts_per_second(product: str, size_px: int, seconds: float = 1.0) -> float:
    """Parts for each second of processor time on one core, every tenth part defective."""
    renderer = PartRenderer(product, size_px)
    kinds = KINDS[product]
    number = 0
    # Processor time, not wall time: other processes on the machine do not count.
    started = time.process_time()
    while time.process_time() < started + seconds:
        defect = DefectSpec(kinds[number // 10 % len(kinds)], 0.7) if number % 10 == 0 else None
        renderer.render(number, defect)
        number += 1
    return number / (time.process_time() - started)


def _named(pixels: Pixels, text: str) -> Pixels:
    named = pixels.copy()
    cv2.putText(named, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return named


def main() -> int:
    """Entry point of the module."""
    parser = argparse.ArgumentParser(prog="python -m plant.parts", description=__doc__)
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--product", choices=PRODUCTS, default="ring")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--severity", type=float, nargs="+", default=[0.3, 0.6, 1.0])
    wanted = parser.parse_args()
    cv2.setNumThreads(1)
    sheet = contact_sheet(wanted.product, wanted.size, wanted.seed, tuple(wanted.severity))
    if not cv2.imwrite(str(wanted.picture), sheet):
        sys.stderr.write(f"{wanted.picture}: expected a picture file that can be written, such as sheet.png\n")
        return 2
    rate = parts_per_second(wanted.product, wanted.size)
    sys.stdout.write(f"{wanted.picture}: {sheet.shape[1]} x {sheet.shape[0]} px, {rate:.0f} parts/s on one core\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
