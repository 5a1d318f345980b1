# SPDX-License-Identifier: Apache-2.0
"""The renderer: simulated parts with known truth. Import `plant.parts.renderer` or `plant.parts.catalogue`.

Imports nothing by itself, so that reading a scenario does not load OpenCV.
"""
