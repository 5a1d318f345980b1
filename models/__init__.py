# SPDX-License-Identifier: Apache-2.0
"""Detectors, training, calibration, quantization, packaging. The only place for torch."""
